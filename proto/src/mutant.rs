//! Planted faults (mutants): a module declares faults that its tests must find when they are planted.

/// Defines `Mutant`, the faults that can be planted in the code of a module, one at a time. `is` returns whether a fault is
/// planted. Without the feature `mutants` of the calling crate, `is` is the constant `false`, and the compiler removes all
/// of them.
#[macro_export]
macro_rules! mutants {
    ($($name:ident),+ $(,)?) => {
        /// A planted fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the name says what goes wrong")]
        pub enum Mutant {
            $($name),+
        }

        #[cfg(feature = "mutants")]
        impl Mutant {
            /// All planted faults of this module.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The faults that none of `tests` finds. The tests run on this thread, and must pass without a fault.
            #[allow(dead_code, reason = "a simulator finds them in its own way")]
            pub fn survivors(tests: &[fn()]) -> Vec<Self> {
                let finds = |test: &fn()| std::panic::catch_unwind(test).is_err();
                assert!(!tests.iter().any(finds), "a test fails without a fault");
                let survives = |mutant: &Self| {
                    plant(Some(*mutant));
                    let found = tests.iter().any(finds);
                    plant(None);
                    !found
                };
                Self::ALL.iter().copied().filter(survives).collect()
            }
        }

        #[cfg(feature = "mutants")]
        thread_local! {
            static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
        }

        /// Plants this fault, or none, in everything that this thread does from now on.
        #[cfg(feature = "mutants")]
        pub fn plant(mutant: Option<Mutant>) {
            PLANTED.set(mutant);
        }

        /// Whether this fault is planted.
        #[cfg(feature = "mutants")]
        pub(super) fn is(mutant: Mutant) -> bool {
            PLANTED.get() == Some(mutant)
        }

        /// Whether this fault is planted: never in this build.
        #[cfg(not(feature = "mutants"))]
        pub(super) const fn is(_: Mutant) -> bool {
            false
        }
    };
}
