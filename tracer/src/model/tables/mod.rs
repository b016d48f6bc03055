//! A recording as tables: each connection once it has ended or at the end, with its
//! place in the report, and each site. Pure.

use anyhow::Result;

use super::{connection::Connection, report::Group};

mod places;
mod teller;

pub use places::{Place, Places};
pub use teller::Teller;

/// Where it goes.
pub trait Sink {
    /// Takes a connection: as it was at its end, or is now. `place`: where it belongs, if
    /// that is known.
    ///
    /// # Errors
    /// Where it cannot be passed on.
    fn connection(
        &mut self,
        connection: &Connection,
        is_open: bool,
        place: Option<&Place>,
    ) -> Result<()>;

    /// Takes a site of the report, and its number there, from 1.
    ///
    /// # Errors
    /// As [`Sink::connection`].
    fn site(&mut self, site_no: u32, group: Group) -> Result<()>;
}

#[cfg(test)]
mod tests;
