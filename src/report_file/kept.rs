//! Reports from a kept sandbox: the figures of an earlier import, without its logs.

use std::hash::BuildHasher;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::FixedState;

use super::{ReportFiles, ReportInput};
use crate::error::Result;
use crate::radio::{self, ListenerRequest, ListeningStats, ReportOptions, SessionSink};
use crate::report::{Account, Console};
use crate::sandbox::HitStore;
use crate::sync::Mutex;

impl ReportFiles {
    /// Reports the listening time that is in the file of a sandbox, without an import.
    ///
    /// # Errors
    ///
    /// The file is not a sandbox's, or a report cannot be written.
    pub fn report_sandbox(
        self,
        file: &Path,
        options: &ReportOptions,
        console: &Console,
    ) -> Result<()> {
        let started = Instant::now();
        self.check(&[])?;
        let store = HitStore::open(Some(file))?;
        let listener_logs = self.listener_logs()?.unwrap_or_default();
        let listener_logs = Arc::new(Mutex::new(listener_logs));
        let mut stats =
            ListeningStats::new(Some(Arc::clone(&listener_logs) as Arc<dyn SessionSink>));
        let hasher = FixedState::default();
        store.for_each_session(|session| {
            let status = session.status.to_string();
            let listener = stats.listener(
                options,
                &ListenerRequest {
                    hash: hasher.hash_one((session.address, session.agent)),
                    mount: session.mount,
                    address: session.address,
                    located: session.address,
                    status: status.as_bytes(),
                    agent: session.agent,
                },
            );
            stats.sessions.add(&listener.reported(session.time));
            Ok(())
        })?;
        let figures = stats.figures(options, None)?;
        console.print(radio::summary(&figures, 0));
        let input = ReportInput {
            account: &Account::new(),
            sites: 0,
            requests: 0,
            elapsed: started.elapsed(),
            dry_run: false,
            from_sandbox: true,
            listening: Some(figures),
            web: None,
            bots: None,
        };
        let listener_logs = std::mem::take(&mut *listener_logs.lock());
        self.write(input, listener_logs, console);
        Ok(())
    }
}
