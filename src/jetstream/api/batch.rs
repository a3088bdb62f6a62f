//! Batches that are published fast: the reply subject of each message says where in one it stands.

use super::errors::ApiError;

/// Bytes of the id of a batch.
pub const ID_MAX: usize = 64;
/// After how many messages a publisher hears how far it has got, if it says nothing.
const FLOW: u16 = 10;

/// A message of a batch, as its reply subject has it:
/// `<prefix>.<id>.<flow>.<gaps>.<sequence>.<operation>.$FI`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FastBatch<'a> {
    pub id: &'a [u8],
    /// From 1.
    pub seq: u64,
    /// After how many messages the publisher wants to hear how far it has got.
    pub flow: u16,
    /// Whether the batch goes on where messages are missing.
    pub gaps_ok: bool,
    pub operation: Operation,
}

/// What a message does to its batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Start,
    Append,
    /// It is the last one.
    Commit,
    /// It ends the batch and is not stored itself.
    CommitBehind,
    /// It asks how far the batch has got.
    Ping,
}

/// What such reply subjects end in.
const SUFFIX: &[u8] = b".$FI";

/// Reads a reply subject; `None` if it is not about a batch.
///
/// # Errors
/// 10206 if it is and can not be read, 10207 if the id is too long.
pub fn parse(reply: &[u8]) -> Option<Result<FastBatch<'_>, ApiError>> {
    let rest = reply.strip_suffix(SUFFIX).filter(|rest| !rest.is_empty())?;
    let batch = read(rest).ok_or(ApiError::BatchPublishInvalidPattern);
    Some(batch.and_then(|batch| match batch.id.len() > ID_MAX {
        true => Err(ApiError::BatchPublishInvalidBatchId),
        false => Ok(batch),
    }))
}

fn read(rest: &[u8]) -> Option<FastBatch<'_>> {
    let mut tokens = rest.rsplit(|byte| *byte == b'.');
    let operation = match tokens.next()? {
        b"0" => Operation::Start,
        b"1" => Operation::Append,
        b"2" => Operation::Commit,
        b"3" => Operation::CommitBehind,
        b"4" => Operation::Ping,
        _ => return None,
    };
    let seq = number(tokens.next()?).filter(|seq| (1..u64::MAX).contains(seq))?;
    let fits = match operation {
        Operation::Start => seq == 1,
        Operation::Append | Operation::CommitBehind => seq > 1,
        Operation::Commit | Operation::Ping => true,
    };
    let gaps_ok = match tokens.next()? {
        b"ok" => true,
        b"fail" => false,
        _ => return None,
    };
    let flow = match number(tokens.next()?) {
        None | Some(0) => FLOW,
        Some(flow) => u16::try_from(flow).unwrap_or(u16::MAX),
    };
    let id = tokens.next()?;
    // Something has to stand before the id, or nobody would get an answer.
    tokens.next()?;
    fits.then_some(FastBatch {
        id,
        seq,
        flow,
        gaps_ok,
        operation,
    })
}

fn number(digits: &[u8]) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits)
        .ok()
        .filter(|_| all_digits)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replies_are_read() {
        let batch = parse(b"_INBOX.x.id.20.ok.3.1.$FI").unwrap().unwrap();
        let want = FastBatch {
            id: b"id",
            seq: 3,
            flow: 20,
            gaps_ok: true,
            operation: Operation::Append,
        };
        assert_eq!(batch, want);
        for (reply, flow) in [
            ("a.id.0.fail.1.0.$FI", 10),
            ("a.id.x.fail.1.0.$FI", 10),
            ("a.id.99999.fail.1.0.$FI", 65_535),
        ] {
            assert_eq!(
                parse(reply.as_bytes()).unwrap().unwrap().flow,
                flow,
                "{reply}"
            );
        }
        for reply in ["", "_INBOX.x", ".$FI", "$FI"] {
            assert_eq!(parse(reply.as_bytes()), None, "{reply}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for reply in [
            "a.$FI",
            "a.id.10.ok.1.9.$FI",
            "a.id.10.ok.1.x.$FI",
            "a.id.10.ok.0.2.$FI",
            "a.id.10.ok.x.2.$FI",
            "a.id.10.ok.18446744073709551615.2.$FI",
            "a.id.10.maybe.1.0.$FI",
            "a.id.10.ok.2.0.$FI",
            "a.id.10.ok.1.1.$FI",
            "a.id.10.ok.1.3.$FI",
            "id.10.ok.1.0.$FI",
        ] {
            let refused = Some(Err(ApiError::BatchPublishInvalidPattern));
            assert_eq!(parse(reply.as_bytes()), refused, "{reply}");
        }
        let long = format!("a.{}.10.ok.1.0.$FI", "x".repeat(65));
        let refused = Some(Err(ApiError::BatchPublishInvalidBatchId));
        assert_eq!(parse(long.as_bytes()), refused);
    }

    proptest! {
        #[test]
        fn any_reply_is_judged(reply in "[a-z0-9.]{0,24}(\\.\\$FI)?") {
            let _ = parse(reply.as_bytes());
        }
    }
}
