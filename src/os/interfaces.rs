//! The addresses of this machine.

use std::io;
use std::net::IpAddr;

/// The addresses of all network interfaces, loopback included, in the order in which the system
/// lists them. Link-local ones come without their zone.
///
/// # Errors
/// The system does not list its interfaces.
pub fn addresses() -> io::Result<Vec<IpAddr>> {
    let interfaces = if_addrs::get_if_addrs()?;
    Ok(interfaces.iter().map(if_addrs::Interface::ip).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_its_loopback_address() {
        let addresses = addresses().unwrap();
        assert!(
            addresses.contains(&IpAddr::from([127, 0, 0, 1])),
            "{addresses:?}"
        );
    }
}
