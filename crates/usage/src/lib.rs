//! Which native Secrets a pod uses, which other products deliver secrets to it, and which objects write native Secrets.
//!
//! Pure functions over the JSON of Kubernetes objects, for `audit`, `migrate` and `verify`. No function reads `data` or
//! `stringData` of a Secret. A field of an unexpected type counts as absent: the API server rejects such an object, and a
//! manifest in a repository must not stop the audit of the others.

mod container;
mod json;
mod native_secret;
mod products;
mod secrets;
mod sources;
mod tokens;
mod vault_agent;
mod volumes;

pub use container::{ContainerKind, ContainerRef};
pub use native_secret::{NativeSecret, SERVICE_ACCOUNT_TOKEN};
pub use products::{Evidence, OtherProduct, Product, ProductKind, SECRETS_STORE, other_products};
pub use secrets::{SecretUse, Via, secrets};
pub use sources::{RemoteRef, SecretSource, SourceKind, secret_sources};
pub use tokens::{ProjectedToken, TokenSettings, token_settings};
pub use vault_agent::{VaultAgent, VaultSecret, vault_agent};
pub use volumes::{CsiVolume, Item, Mount, SecretVolume, csi_volumes};
