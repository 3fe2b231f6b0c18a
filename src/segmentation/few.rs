//! A set that nearly always has one member: most keys, values and Secrets belong to one object, and ten thousand tree nodes
//! for one member each would be most of the index.

use std::collections::BTreeSet;

/// A small ordered set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Few<T> {
    /// No member, or one.
    Single(Option<T>),
    /// Several.
    Several(Box<BTreeSet<T>>),
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Single(None)
    }
}

impl<T: Ord> Few<T> {
    /// Adds a member.
    pub fn insert(&mut self, member: T) {
        match self {
            Self::Single(None) => *self = Self::Single(Some(member)),
            Self::Single(Some(one)) if *one == member => {}
            Self::Single(one) => *self = Self::Several(Box::new(one.take().into_iter().chain([member]).collect())),
            Self::Several(members) => {
                members.insert(member);
            }
        }
    }

    /// Takes a member out.
    pub fn remove(&mut self, member: &T) {
        match self {
            Self::Single(one) if one.as_ref() == Some(member) => *one = None,
            Self::Single(_) => {}
            Self::Several(members) => {
                members.remove(member);
                if members.len() <= 1 {
                    *self = Self::Single(members.pop_first());
                }
            }
        }
    }

    /// Whether it has no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it has more than one member.
    pub fn is_several(&self) -> bool {
        matches!(self, Self::Several(_))
    }

    /// How many members it has.
    pub fn len(&self) -> usize {
        match self {
            Self::Single(one) => usize::from(one.is_some()),
            Self::Several(members) => members.len(),
        }
    }

    /// The member that is this.
    pub fn get(&self, member: &T) -> Option<&T> {
        match self {
            Self::Single(one) => one.as_ref().filter(|one| *one == member),
            Self::Several(members) => members.get(member),
        }
    }

    /// Its members from this one on, in order.
    pub fn from<'s>(&'s self, first: &T) -> impl Iterator<Item = &'s T> + use<'s, T> {
        let (one, several) = match self {
            Self::Single(one) => (one.as_ref().filter(|one| *one >= first), None),
            Self::Several(members) => (None, Some(members.range(first..))),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    /// Its members, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (one, several) = match self {
            Self::Single(one) => (one.as_ref(), None),
            Self::Several(members) => (None, Some(members.iter())),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in prop::collection::vec((any::<bool>(), 0u8..5), 0..40)) {
            let (mut few, mut set) = (Few::default(), BTreeSet::new());
            for (add, member) in steps {
                if add {
                    few.insert(member);
                    set.insert(member);
                } else {
                    few.remove(&member);
                    set.remove(&member);
                }
                prop_assert!(few.iter().eq(set.iter()));
                prop_assert!(few.from(&member).eq(set.range(member..)));
                prop_assert_eq!(few.is_empty(), set.is_empty());
                prop_assert_eq!(few.is_several(), set.len() > 1);
                prop_assert_eq!((few.len(), few.get(&member)), (set.len(), set.get(&member)));
            }
        }
    }
}
