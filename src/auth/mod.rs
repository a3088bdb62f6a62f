//! Who may connect: one verdict, whatever the mechanism.

use crate::proto::connect::Connect;

/// What became of a CONNECT.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// The client is in.
    Accepted,
    /// It is not, and is told no more than that.
    Refused,
}

/// Judges a client's CONNECT. No mechanism is configured: everybody is in, but nobody chooses an
/// account.
pub fn authenticate(connect: &Connect) -> Verdict {
    if connect.new_account || !connect.account.is_empty() {
        return Verdict::Refused;
    }
    Verdict::Accepted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_chooses_an_account() {
        let mut connect = Connect::default();
        assert_eq!(authenticate(&connect), Verdict::Accepted);
        connect.account = "A".into();
        assert_eq!(authenticate(&connect), Verdict::Refused);
        connect = Connect {
            new_account: true,
            ..Connect::default()
        };
        assert_eq!(authenticate(&connect), Verdict::Refused);
    }
}
