//! Lines of a batch in doubt read once more: the requests that they became, as they were made the first time.

use crate::hit_id::HitId;
use std::path::Path;

use bumpalo::Bump;

use super::line::place;
use super::log::Log;
use super::radio::{Heard, Listening, Over, Title};
use super::{Importer, TICK};
use crate::error::{Error, Result};
use crate::format::{Fit, Format, Record};
use crate::import::format_selector::BufferedLine;
use crate::input::InputError;
use crate::input::discover::Source;
use crate::input::lines::{Line, LineEvent, LineOptions, Lines};
use crate::ledger::{LogId, Ranges};
use crate::recorder::{Chunk, LinePosition};
use crate::report::{Account, Counter};

/// The requests of a batch's lines, made once more.
pub(super) struct Again {
    pub parcel: Chunk,
    /// All of them carry our marks.
    pub marked: bool,
    /// Where the lines of each unit stand, and the marks of the requests that they became.
    pub units: Vec<(Vec<LinePosition>, Vec<HitId>)>,
}

impl Importer {
    /// Makes the requests of these lines once more, in the same way: their marks depend on nothing else.
    pub(super) fn read_again(
        &mut self,
        id: LogId,
        path: &Path,
        options: &LineOptions,
        places: &Ranges,
    ) -> Result<Again> {
        let source = Source::File(path.to_owned());
        let unreadable = |error: InputError| Error::stopped(error.to_string());
        let mut lines = Lines::open(&source, options.clone()).map_err(unreadable)?;
        let name = source.to_string();
        let chosen = self.chooser.choose(
            &name,
            &mut lines,
            &self.stop,
            &self.console,
            self.input.flush_interval,
        )?;
        let mut again = Again {
            parcel: Chunk::default(),
            marked: true,
            units: Vec::new(),
        };
        let Some((mut format, held)) = chosen else {
            return Ok(again);
        };
        self.forget_groups(format.as_ref());
        let listening = self.listening(format.as_ref());
        let mut log = self.shadow(name, id, listening);
        let mut arena = Bump::new();
        for line in held.iter().flat_map(BufferedLine::lines) {
            self.line_again(&mut log, format.as_mut(), &line, places, &arena, &mut again)?;
            arena.reset();
        }
        while lines.position() < places.end() {
            match lines.next(TICK).map_err(unreadable)? {
                LineEvent::Line(line) => {
                    self.line_again(&mut log, format.as_mut(), &line, places, &arena, &mut again)?
                }
                LineEvent::Pause if self.stop.requested() => break,
                LineEvent::Pause => {}
                LineEvent::End => break,
            }
            arena.reset();
        }
        if let Listening::Titles(holder) = &mut log.listening {
            let over = holder.drain().collect();
            self.connections_again(log.mark, over, &mut again);
        }
        Ok(again)
    }

    /// The log, with an account that nobody sees: these lines are counted when they are read for good.
    fn shadow(&self, name: String, id: LogId, listening: Listening) -> Log {
        let (_, account) = Account::new().open(name.clone());
        Log {
            name,
            number: 0,
            account: Counter::new(account),
            at: 0,
            known: None,
            fitting: 0,
            mark: id.number(),
            listening,
            unusable_header: None,
            header: None,
            format: "",
            is_rejects: false,
        }
    }

    fn line_again(
        &mut self,
        log: &mut Log,
        format: &mut dyn Format,
        line: &Line,
        places: &Ranges,
        arena: &Bump,
        again: &mut Again,
    ) -> Result<()> {
        let header = line.bytes.starts_with(b"#");
        let wanted = places.contains(line.start);
        if !header && !wanted {
            return Ok(());
        }
        // As when the line was read first: what fits the format is no header, whatever it begins with.
        let mut record = Record::default();
        if line.too_long || format.parse(line.bytes, arena, &mut record) == Fit::Misfit {
            if header {
                // One that cannot be used is told of when the lines are read for good.
                let _ = format.header(line.bytes);
                self.forget_groups(format);
            }
            return Ok(());
        }
        if !wanted {
            return Ok(());
        }
        let format = &*format;
        let mut request = self.hit.request(format, &record, arena);
        let Ok(kept) = self.judge(log, &mut request, arena)? else {
            return Ok(());
        };
        let heard = if kept.hit.request.is_listener {
            self.listen(log, line, &kept)
        } else {
            Heard::Plain
        };
        match heard {
            Heard::Over(over) => self.connections_again(log.mark, over, again),
            // A page view alone has the mark that a plain hit has.
            Heard::Plain | Heard::Unmeasured(_) => {
                again.marked &= kept.is_marked();
                self.requests
                    .write(log.mark, line.start, kept, &mut again.parcel);
                let mark = self.requests.marker.mark(log.mark, line.start, 0);
                again.units.push((vec![place(line)], vec![mark]));
            }
        }
        Ok(())
    }

    fn connections_again(&mut self, log: u64, over: Vec<Over>, again: &mut Again) {
        for whole in over {
            self.requests
                .write_connection(log, &whole, &mut again.parcel);
            let marks = self.requests.marks_of(log, &whole);
            let unknown = marks.filter(|mark| !self.requests.present.contains(mark));
            let places = whole.lines.iter().map(Title::place).collect();
            again.units.push((places, unknown.collect()));
        }
    }
}
