//! The memory of the agent's container. The injector derives the default limit from these figures,
//! and the agent its budget.
//!
//! The files count as memory of the container, because the volume is a tmpfs. So the limit must cover the
//! whole volume, which holds two generations during a refresh, and the agent's own memory:
//!
//! ```text
//! least limit   = volume-size-limit + AGENT_MEMORY_MIB
//! default limit = volume-size-limit + AGENT_MEMORY_MIB + AGENT_MEMORY_RESERVE_MIB
//! ```

/// Memory of the agent in addition to the volume of its files, in MiB: its binary, its heap and the
/// reads in flight.
pub const AGENT_MEMORY_MIB: u32 = 16;

/// Reserve in the default limit, in MiB: the small volumes of variables and state, and kernel
/// memory (sockets, page tables) that is charged to the container.
pub const AGENT_MEMORY_RESERVE_MIB: u32 = 8;
