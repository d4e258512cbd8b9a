//! What holds for every pod, under random policies.
