//! Memory of the agent's container: the injector derives the default limit from these figures, the agent its budget.
//!
//! The files count as memory of the container, because the volume is a tmpfs. So a limit has to hold the whole volume
//! (two generations exist during a refresh) and what the agent needs besides:
//!
//! ```text
//! least limit   = volume-size-limit + AGENT_MEMORY_MIB
//! default limit = volume-size-limit + AGENT_MEMORY_MIB + AGENT_MEMORY_RESERVE_MIB
//! ```

/// What the agent needs besides the volume of its files, MiB: its binary and heap, and the reads in flight.
pub const AGENT_MEMORY_MIB: u32 = 16;

/// What the default limit adds, MiB: the small volumes of variables and state, and the kernel's share (sockets, page
/// tables) that the container is charged for.
pub const AGENT_MEMORY_RESERVE_MIB: u32 = 8;
