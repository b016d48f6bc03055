//! Addresses in little room. Pure.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Address and port in 19 bytes, where `SocketAddr` takes 32: of scope and flow of an IPv6
/// address no record tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packed {
    /// An IPv4 address in the first four.
    address: [u8; 16],
    port: [u8; 2],
    is_v4: bool,
}

impl From<SocketAddr> for Packed {
    fn from(end: SocketAddr) -> Self {
        let mut address = [0; 16];
        match end.ip() {
            IpAddr::V4(v4) => address[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => address = v6.octets(),
        }
        Self {
            address,
            port: end.port().to_ne_bytes(),
            is_v4: end.is_ipv4(),
        }
    }
}

impl From<Packed> for SocketAddr {
    fn from(packed: Packed) -> Self {
        let [a, b, c, d, ..] = packed.address;
        let ip = if packed.is_v4 {
            Ipv4Addr::new(a, b, c, d).into()
        } else {
            IpAddr::from(packed.address)
        };
        Self::new(ip, u16::from_ne_bytes(packed.port))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_same_address_again(ip: IpAddr, port: u16) {
            let end = SocketAddr::new(ip, port);
            prop_assert_eq!(SocketAddr::from(Packed::from(end)), end);
        }
    }
}
