//! Who hears of what a trace learns. Pure.

use anyhow::Result;

use crate::{
    clock::BootTime,
    course::shed::Shed,
    model::report::Loss,
    table::{Change, Table, connection::Connection},
};

/// Who wants to hear of what happens.
pub trait Observer {
    /// A connection changed. An error ends the watch.
    ///
    /// # Errors
    /// Where it cannot be passed on.
    fn change(&mut self, change: Change, at: BootTime, connection: &Connection) -> Result<()>;

    /// Whether it wants to hear of every change. If not, it may be spared those of
    /// connections that came and went at once.
    fn wants_all(&self) -> bool {
        true
    }

    /// A process has become another program.
    fn exec(&mut self, _at: BootTime, _pid: u32) {}

    /// A process is about to end, and to let go of all that it still holds.
    fn exit(&mut self, _at: BootTime, _pid: u32) {}

    /// So much is left out from now on.
    ///
    /// # Errors
    /// As [`Observer::change`].
    fn shed(&mut self, _at: BootTime, _shed: Shed) -> Result<()> {
        Ok(())
    }

    /// That was all for the moment, or much.
    ///
    /// # Errors
    /// As [`Observer::change`].
    fn settle(&mut self) -> Result<()> {
        Ok(())
    }

    /// Once a second: how things stand.
    ///
    /// # Errors
    /// As [`Observer::change`].
    fn tick(&mut self, _at: BootTime, _table: &Table, _loss: Loss) -> Result<()> {
        Ok(())
    }
}

/// Hears nothing.
impl Observer for () {
    fn change(&mut self, _: Change, _: BootTime, _: &Connection) -> Result<()> {
        Ok(())
    }

    fn wants_all(&self) -> bool {
        false
    }
}

/// Both hear it, the first first.
impl<A: Observer, B: Observer> Observer for (A, B) {
    fn change(&mut self, change: Change, at: BootTime, connection: &Connection) -> Result<()> {
        self.0.change(change, at, connection)?;
        self.1.change(change, at, connection)
    }

    fn wants_all(&self) -> bool {
        self.0.wants_all() || self.1.wants_all()
    }

    fn exec(&mut self, at: BootTime, pid: u32) {
        self.0.exec(at, pid);
        self.1.exec(at, pid);
    }

    fn exit(&mut self, at: BootTime, pid: u32) {
        self.0.exit(at, pid);
        self.1.exit(at, pid);
    }

    fn shed(&mut self, at: BootTime, shed: Shed) -> Result<()> {
        self.0.shed(at, shed)?;
        self.1.shed(at, shed)
    }

    fn settle(&mut self) -> Result<()> {
        self.0.settle()?;
        self.1.settle()
    }

    fn tick(&mut self, at: BootTime, table: &Table, loss: Loss) -> Result<()> {
        self.0.tick(at, table, loss)?;
        self.1.tick(at, table, loss)
    }
}

/// Somebody, or nobody.
impl<T: Observer> Observer for Option<T> {
    fn change(&mut self, change: Change, at: BootTime, connection: &Connection) -> Result<()> {
        self.as_mut()
            .map_or(Ok(()), |to| to.change(change, at, connection))
    }

    fn wants_all(&self) -> bool {
        self.as_ref().is_some_and(T::wants_all)
    }

    fn exec(&mut self, at: BootTime, pid: u32) {
        if let Some(to) = self {
            to.exec(at, pid);
        }
    }

    fn exit(&mut self, at: BootTime, pid: u32) {
        if let Some(to) = self {
            to.exit(at, pid);
        }
    }

    fn shed(&mut self, at: BootTime, shed: Shed) -> Result<()> {
        self.as_mut().map_or(Ok(()), |to| to.shed(at, shed))
    }

    fn settle(&mut self) -> Result<()> {
        self.as_mut().map_or(Ok(()), Observer::settle)
    }

    fn tick(&mut self, at: BootTime, table: &Table, loss: Loss) -> Result<()> {
        self.as_mut().map_or(Ok(()), |to| to.tick(at, table, loss))
    }
}
