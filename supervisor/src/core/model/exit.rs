//! How a process ended.

/// How a process ended, from waitid(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Number of the signal.
        number: i32,
        /// Whether it dumped core.
        core: bool,
    },
    /// The kernel reported no status, or no process was ever spawned.
    #[default]
    Unknown,
}

// Signal numbers of signal(7), the same on every architecture that Bulkhead supports.
pub(in crate::core) const SIGABRT: i32 = 6;
pub(in crate::core) const SIGBUS: i32 = 7;
pub(in crate::core) const SIGKILL: i32 = 9;
pub(in crate::core) const SIGSEGV: i32 = 11;
pub(in crate::core) const SIGTERM: i32 = 15;

/// The name of a signal, from signal(7).
#[must_use]
pub fn signal_name(number: i32) -> Option<&'static str> {
    signal_hook::low_level::signal_name(number)
}

impl ExitStatus {
    /// Describes the status for people.
    #[must_use]
    pub fn text(self) -> String {
        match self {
            Self::Code(code) => format!("exit code {code}"),
            Self::Signal { number, core } => {
                let dumped = if core { " (core dumped)" } else { "" };
                match signal_name(number) {
                    Some(name) => format!("{name}{dumped}"),
                    None => format!("signal {number}{dumped}"),
                }
            }
            Self::Unknown => "unknown exit status".to_owned(),
        }
    }

    /// Whether this signal ended it.
    pub(in crate::core) const fn is_signal(self, expected: i32) -> bool {
        match self {
            Self::Signal { number, .. } => number == expected,
            Self::Code(_) | Self::Unknown => false,
        }
    }

    /// Whether SIGKILL ended it.
    #[must_use]
    pub const fn is_kill(self) -> bool {
        self.is_signal(SIGKILL)
    }
}
