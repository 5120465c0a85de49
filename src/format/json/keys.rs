//! A map of keys, compiled: which key of an object, and of the objects in it, is read into what.

use std::ops::Range;

use super::convert::{Conversion, TimeUnit, is_private};
use super::map::{KeyMap, KeyPath, MapTarget, PathStep};
use crate::format::short::Literal;
use crate::format::{Field, Wanted, is_absent};

/// What a format reads from a line.
#[derive(Debug)]
pub struct KeyPlan {
    pub tree: KeyTree,
    /// Number of values that wait for the end of the line.
    pub slots: usize,
    pub groups: Vec<SlotGroup>,
}

/// Values that are chosen from, or converted, at the end of a line.
#[derive(Debug)]
pub struct SlotGroup {
    pub target: GroupTarget,
    /// In the order of preference.
    slots: Range<usize>,
}

#[derive(Debug)]
pub enum GroupTarget {
    Field(Field, Conversion),
    /// The field, unless the key that is preferred to all of the group has given it.
    Fallback(Field),
    Request,
    Extra(String),
}

/// The keys of an object.
#[derive(Debug, Default)]
pub struct KeyTree {
    /// In the order in which servers usually write them: then no key needs a search.
    keys: Vec<Key>,
    /// A bit for each key. Most keys of a log are not wanted, and nearly all of them have another.
    bits: u64,
}

#[derive(Debug)]
pub struct Key {
    pub name: Box<str>,
    /// The name as JSON without its first quote, and a colon, for the scanner.
    literal: Literal,
    pub holds: Holds,
    /// What `holds` does with a usual value. Faster to match.
    pub usual: UsualValue,
}

/// What the usual value of a key is read into.
#[derive(Clone, Copy, Debug)]
pub enum UsualValue {
    /// A text or a number.
    Field(Field),
    /// A number.
    Duration(Field),
    None,
}

/// What the value of a key is read into.
#[derive(Debug)]
pub enum Holds {
    Field(Field),
    Duration(TimeUnit),
    Slot(usize),
    /// The slot of an extra, which takes a value of any kind.
    Extra(usize),
    Object(KeyTree),
    /// Elements of an array, by their places.
    Array(Vec<(usize, Holds)>),
    Several(Vec<Holds>),
}

impl KeyPlan {
    pub fn new(map: &KeyMap, wanted: &Wanted) -> Self {
        let mut plan = Self {
            tree: KeyTree::default(),
            slots: 0,
            groups: Vec::new(),
        };
        for entry in &map.0 {
            let target = match (entry.target, &entry.sources[..]) {
                (MapTarget::Field(field, Conversion::None), [path]) => {
                    plan.tree.insert(&path.0, Holds::Field(field));
                    continue;
                }
                (MapTarget::Field(_, Conversion::Duration(unit)), [path]) => {
                    plan.tree.insert(&path.0, Holds::Duration(unit));
                    continue;
                }
                (MapTarget::Field(field, Conversion::None), [path, others @ ..]) => {
                    plan.tree.insert(&path.0, Holds::Field(field));
                    plan.add_group(GroupTarget::Fallback(field), others);
                    continue;
                }
                (MapTarget::Field(field, conversion), _) => GroupTarget::Field(field, conversion),
                (MapTarget::Request, _) => GroupTarget::Request,
            };
            plan.add_group(target, &entry.sources);
        }
        for name in &wanted.0 {
            plan.add_group(GroupTarget::Extra(name.clone()), &KeyPath::of_extra(name));
        }
        plan.tree.simplify();
        plan
    }

    fn add_group(&mut self, target: GroupTarget, sources: &[KeyPath]) {
        let slots = self.slots..self.slots + sources.len();
        self.slots = slots.end;
        for (slot, path) in slots.clone().zip(sources) {
            let holds = match target {
                GroupTarget::Extra(_) => Holds::Extra(slot),
                _ => Holds::Slot(slot),
            };
            self.tree.insert(&path.0, holds);
        }
        self.groups.push(SlotGroup { target, slots });
    }
}

impl SlotGroup {
    /// The first value that is neither empty nor `-`, else the first one.
    pub fn choose<'a>(&self, slots: &[Option<&'a [u8]>]) -> Option<&'a [u8]> {
        let mut values = slots[self.slots.clone()].iter().flatten().copied();
        if self.slots.len() == 1 {
            return values.next();
        }
        let is_peer = matches!(self.target, GroupTarget::Field(_, Conversion::Peer));
        let present = |value: &&[u8]| !is_absent(value);
        let outer = |value: &&[u8]| !is_peer || !is_private(value);
        let found = values.clone().find(|value| present(value) && outer(value));
        found
            .or_else(|| values.clone().find(present))
            .or_else(|| values.next())
    }
}

impl KeyTree {
    /// Looks up a key by its name, first at `next`: servers write the keys of all lines in one
    /// order.
    #[inline]
    pub fn find(&self, name: &[u8], next: &mut usize) -> Option<&Key> {
        if self.bits & name_bit(name) == 0 {
            return None;
        }
        let is_it = |key: &Key| key.name.as_bytes() == name;
        let at = match self.keys.get(*next) {
            Some(key) if is_it(key) => *next,
            _ => self.keys.iter().position(is_it)?,
        };
        *next = at + 1;
        Some(&self.keys[at])
    }

    /// Takes the key at `next` off a text, if the text begins with it, a quote and a colon.
    #[inline]
    pub fn expected<'a>(&self, text: &'a [u8], next: usize) -> Option<(&Key, &'a [u8])> {
        let key = self.keys.get(next)?;
        Some((key, key.literal.strip_from(text)?))
    }

    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    fn insert(&mut self, steps: &[PathStep], leaf: Holds) {
        // A path begins with a key.
        let Some((PathStep::Key(name), rest)) = steps.split_first() else {
            return;
        };
        let place = self.keys.iter().position(|key| *key.name == **name);
        let key = match place {
            Some(place) => &mut self.keys[place],
            None => {
                self.bits |= name_bit(name.as_bytes());
                self.keys.push(Key::new(name));
                let last = self.keys.len() - 1;
                &mut self.keys[last]
            }
        };
        key.holds.insert(rest, leaf);
    }

    fn simplify(&mut self) {
        for key in &mut self.keys {
            key.holds.simplify();
            key.usual = match key.holds {
                Holds::Field(field) => UsualValue::Field(field),
                Holds::Duration(unit) => {
                    unit.field().map_or(UsualValue::None, UsualValue::Duration)
                }
                _ => UsualValue::None,
            };
        }
    }
}

impl Key {
    fn new(name: &str) -> Self {
        let written = serde_json::Value::from(name).to_string() + ":";
        Self {
            name: name.into(),
            literal: Literal::new(&written[1..]),
            holds: Holds::Several(Vec::new()),
            usual: UsualValue::None,
        }
    }
}

impl Holds {
    /// Adds what a path leads to. Only for [`Holds::Several`], as all are before
    /// [`Holds::simplify`].
    fn insert(&mut self, steps: &[PathStep], leaf: Holds) {
        let Holds::Several(all) = self else {
            return;
        };
        match steps.split_first() {
            None => all.push(leaf),
            Some((PathStep::Key(_), _)) => {
                let tree = all.iter_mut().find_map(|holds| match holds {
                    Holds::Object(tree) => Some(tree),
                    _ => None,
                });
                match tree {
                    Some(tree) => tree.insert(steps, leaf),
                    None => {
                        let mut tree = KeyTree::default();
                        tree.insert(steps, leaf);
                        all.push(Holds::Object(tree));
                    }
                }
            }
            Some((PathStep::Element(at), rest)) => {
                let elements = all.iter_mut().find_map(|holds| match holds {
                    Holds::Array(elements) => Some(elements),
                    _ => None,
                });
                let mut new = Holds::Several(Vec::new());
                match elements {
                    Some(elements) => match elements.iter_mut().find(|(place, _)| place == at) {
                        Some((_, holds)) => holds.insert(rest, leaf),
                        None => {
                            new.insert(rest, leaf);
                            elements.push((*at, new));
                        }
                    },
                    None => {
                        new.insert(rest, leaf);
                        all.push(Holds::Array(vec![(*at, new)]));
                    }
                }
            }
        }
    }

    fn simplify(&mut self) {
        match self {
            Holds::Several(all) => {
                all.iter_mut().for_each(Holds::simplify);
                if all.len() == 1
                    && let Some(only) = all.pop()
                {
                    *self = only;
                }
            }
            Holds::Object(tree) => tree.simplify(),
            Holds::Array(elements) => elements.iter_mut().for_each(|(_, it)| it.simplify()),
            _ => {}
        }
    }
}

/// One of 64 bits, by the length and the last byte of a name.
#[inline]
fn name_bit(name: &[u8]) -> u64 {
    let last = name.last().map_or(0, |byte| usize::from(*byte));
    1 << ((name.len() * 5 + last) % 64)
}
