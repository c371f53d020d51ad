//! Lifecycles without data as a table.

/// What became of an asked-for transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<S> {
    /// The new state.
    To(S),
    /// The machine is there already; repeating is harmless.
    NoOp,
    /// The table has no such edge.
    Illegal,
}

/// Defines a lifecycle: its states, and for each event the edges it may take. The matrix of all states and events is
/// what a snapshot test prints.
macro_rules! lifecycle {
    (
        $(#[$doc:meta])*
        $vis:vis enum $state:ident { $($(#[$state_doc:meta])* $name:ident = $text:literal),* $(,)? }
        $(#[$event_doc:meta])*
        $event_vis:vis enum $event:ident { $($(#[$edge_doc:meta])* $edge:ident: $($from:ident)|+ => $to:ident),* $(,)? }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $state { $($(#[$state_doc])* $name,)* }

        impl $state {
            /// The string on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The state with this string.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }

            /// What `event` does in this state.
            pub(crate) const fn on(self, event: $event) -> $crate::transition::Step<Self> {
                match (event, self) {
                    $($(($event::$edge, Self::$from) => $crate::transition::Step::To(Self::$to),)+
                      ($event::$edge, Self::$to) => $crate::transition::Step::NoOp,)*
                    _ => $crate::transition::Step::Illegal,
                }
            }

            /// All states, in the order of the table.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];
        }

        $(#[$event_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        $event_vis enum $event { $($(#[$edge_doc])* $edge,)* }

        impl $event {
            /// All events, in the order of the table.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Self] = &[$(Self::$edge,)*];
        }
    };
}

pub(crate) use lifecycle;
