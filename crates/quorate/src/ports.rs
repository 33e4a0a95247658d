//! Ports that `fetch` refuses: who listens on one is not reached by browsers and Node.
//!
//! The Fetch Standard ("Port blocking") lists the ports of other protocols, and an HTTP request to one of them fails in
//! the client with "bad port", before anything is sent. Most hosts of agents and the TypeScript SDK use `fetch`, so that
//! an endpoint there looks dead to them while `curl` reaches it. It works for other clients: it is a warning, no error.

use std::net::SocketAddr;

/// The standard's list, in its order.
const BLOCKED: [u16; 82] = [
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109, 110,
    111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530, 531, 532,
    540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061,
    6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// Warns of a listener that hosts on Node and in browsers cannot reach.
pub(crate) fn warn_of(listener: &str, address: SocketAddr) {
    if is_blocked(address.port()) {
        tracing::warn!(
            listener,
            %address,
            "browsers and Node refuse this port (\"bad port\"): hosts that use them cannot connect; choose another one"
        );
    }
}

fn is_blocked(port: u16) -> bool {
    BLOCKED.contains(&port)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn the_list_is_in_order_and_knows_what_it_is_for() {
        assert!(BLOCKED.is_sorted());
        assert!(is_blocked(4190), "ManageSieve, and once the default of `up`");
        assert!(!is_blocked(443) && !is_blocked(8080));
    }

    #[test]
    fn the_defaults_can_be_reached_by_every_client() {
        let Command::Up(up) = Cli::parse_from(["quorate", "up"]).command else { panic!("it is `up`") };

        for address in [up.listen, up.admin] {
            assert!(!is_blocked(address.port()), "{address}");
        }
    }
}
