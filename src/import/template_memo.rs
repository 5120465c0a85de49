//! Remembers the last templates of sessions: most listeners differ in nothing but their address.

use crate::hit::{Hit, LoggedRequest};
use crate::matomo::tracking::SessionTemplate;
use crate::radio::SessionTraits;

/// Templates that are remembered. Each takes about a kilobyte.
const MAX_TEMPLATES: usize = 512;

/// A longer key is not remembered.
const MAX_KEY_BYTES: usize = 2048;

/// What sessions of one kind have in common: all that differ in nothing but address and times.
pub struct SessionKind {
    /// `None` if it is not worth remembering.
    key: Option<SessionKey>,
    pub template: SessionTemplate,
    /// Without the country. `None` without listening figures.
    pub traits: Option<SessionTraits>,
}

/// The last kinds of sessions.
#[derive(Default)]
pub struct TemplateMemo {
    slots: Vec<Option<Box<SessionKind>>>,
}

/// What a template depends on besides the address.
struct SessionKey {
    site: u32,
    is_bot: bool,
    /// The texts, one after the other.
    texts: Vec<u8>,
    lengths: [usize; TEXTS],
}

const TEXTS: usize = 7;

/// The texts of a key. Those that differ most come first.
fn texts<'a>(request: &LoggedRequest<'a>) -> [&'a [u8]; TEXTS] {
    [
        request.user_agent,
        request.path,
        request.query,
        request.referrer,
        request.status,
        request.host.unwrap_or_default(),
        request.scheme.unwrap_or_default(),
    ]
}

impl SessionKey {
    fn new(hit: &Hit) -> Option<Self> {
        let texts = texts(hit.request);
        let lengths = texts.map(<[u8]>::len);
        (lengths.iter().sum::<usize>() <= MAX_KEY_BYTES).then(|| Self {
            site: hit.site.index,
            is_bot: hit.request.is_bot,
            texts: texts.concat(),
            lengths,
        })
    }

    fn fits(&self, hit: &Hit) -> bool {
        let texts = texts(hit.request);
        if (self.site, self.is_bot) != (hit.site.index, hit.request.is_bot)
            || self.lengths != texts.map(<[u8]>::len)
        {
            return false;
        }
        let mut rest = &self.texts[..];
        texts.iter().all(|text| {
            // Always true.
            let Some((own, after)) = rest.split_at_checked(text.len()) else {
                return false;
            };
            rest = after;
            match text.len() {
                // Several are empty or short. Calling a function takes longer than this.
                ..=16 => text.iter().eq(own),
                _ => *text == own,
            }
        })
    }
}

impl SessionKind {
    /// `is_usual` is what
    /// [`Writer::is_usual_template`](crate::matomo::tracking::Writer::is_usual_template) says.
    pub fn new(
        hit: &Hit,
        is_usual: bool,
        template: SessionTemplate,
        traits: Option<SessionTraits>,
    ) -> Self {
        Self {
            key: is_usual.then(|| SessionKey::new(hit)).flatten(),
            template,
            traits,
        }
    }
}

impl TemplateMemo {
    /// The place of a hit, for [`Self::take`] and [`Self::put`]. `agent` is a hash of its user
    /// agent.
    pub fn slot(hit: &Hit, agent: u64) -> usize {
        let request = hit.request;
        let path = request.path;
        let of_path = path.last().map_or(0, |last| usize::from(*last)) + 31 * path.len();
        let others = request.query.len() + 7 * request.referrer.len();
        (agent as usize ^ (of_path + 131 * others)) % MAX_TEMPLATES
    }

    /// Takes out what is remembered of a usual hit with this site and these texts; see
    /// [`SessionKind::new`].
    pub fn take(&mut self, slot: usize, hit: &Hit) -> Option<Box<SessionKind>> {
        let place = self.slots.get_mut(slot)?;
        let key = place.as_ref().and_then(|kind| kind.key.as_ref());
        match key.is_some_and(|key| key.fits(hit)) {
            true => place.take(),
            false => None,
        }
    }

    /// Remembers what sessions have in common, in the place of what was there.
    pub fn put(&mut self, slot: usize, kind: Box<SessionKind>) {
        if kind.key.is_some() {
            if self.slots.is_empty() {
                self.slots.resize_with(MAX_TEMPLATES, || None);
            }
            self.slots[slot] = Some(kind);
        }
    }
}
