//! Planted faults: a crate says which ones its code can be asked to commit, so that its tests can show that they find each.

/// Defines `Mutant`, the faults that can be planted in a module's code, one at a time; `is` asks whether one is. Without
/// the calling crate's feature `mutants`, `is` is a constant `false`, and all of them are compiled out.
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
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// Those with which none of these tests fails. They run on this thread, and must pass without a fault.
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

        /// Plants this fault in all that this thread does from now on, or none.
        #[cfg(feature = "mutants")]
        pub fn plant(mutant: Option<Mutant>) {
            PLANTED.set(mutant);
        }

        /// Whether this fault is planted.
        #[cfg(feature = "mutants")]
        pub(super) fn is(mutant: Mutant) -> bool {
            PLANTED.get() == Some(mutant)
        }

        /// Whether this fault is planted: never.
        #[cfg(not(feature = "mutants"))]
        pub(super) const fn is(_: Mutant) -> bool {
            false
        }
    };
}
