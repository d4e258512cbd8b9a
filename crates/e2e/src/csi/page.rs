//! The class on ScaiVault's Kubernetes page, its pod, and the native Secret that the driver writes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{class, pod, running};
use crate::{kubectl::wait_for, running::AppPod, vault::seed, world::World};

const NAME: &str = "billing-secrets";
const SECRET: &str = "billing";
/// As on the page.
const OBJECTS: &str = "\
- path: environments/production/billing/database
  file: db.json
- path: environments/production/billing/stripe
  file: stripe.json
  field: secret_key
";
/// The kubelet publishes a volume again after 60 to 90 s, and the provider's cached secret is at
/// most 10 s old.
const ROTATION: Duration = Duration::from_mins(4);

/// The page's class with additional `secretObjects`, and its pod with
/// `automountServiceAccountToken: false`.
pub(crate) fn published(world: &World<'_>) -> Result<String> {
    let mut class = class(world, NAME, OBJECTS);
    class["spec"]["secretObjects"] = json!([{"secretName": SECRET, "type": "Opaque", "data": [
        {"objectName": "db.json", "key": "db.json"},
        {"objectName": "stripe.json", "key": "STRIPE_KEY"},
    ]}]);
    world.kubectl.create(World::CSI, &class)?;
    let started = Instant::now();
    world.kubectl.create(World::CSI, &pod(world, NAME, NAME))?;
    let pod = running(NAME);
    pod.wait_until_ready(world)?;
    let took = started.elapsed().as_secs_f64();
    let database: Value = serde_json::from_str(&pod.said(world, "start db.json: ")?)?;
    if database.get("username").is_none() || database.get("password").is_none() {
        bail!("db.json is not the secret's data");
    }
    if pod.said(world, "start stripe.json: ")? != seed::STRIPE_KEY {
        bail!("stripe.json is not the field");
    }
    let modes = pod.exec(world, "stat -L -c %a:%u /run/secrets/db.json /run/secrets/stripe.json")?;
    if modes.split_whitespace().any(|mode| mode != "444:0") {
        bail!("files have other modes or owners: {modes}");
    }
    wait_for("the native Secret has both files", Duration::from_secs(30), || {
        let Some([db, stripe]) = native_secret(world)? else { return Ok(None) };
        let is_equal = serde_json::from_str::<Value>(&db).is_ok_and(|db| db == database);
        Ok((is_equal && stripe == seed::STRIPE_KEY).then_some(()))
    })?;
    Ok(format!("both files and the native Secret exist; ready {took:.1} s after the creation"))
}

/// A new version reaches the file and the native Secret, without a restart of the container.
pub(crate) fn rotated(world: &World<'_>) -> Result<String> {
    let pod = running(NAME);
    let after = seed::database(4);
    world.vault.admin.rotate(seed::DATABASE, &after)?;
    let started = Instant::now();
    wait_for("the file has the new version", ROTATION, || Ok((data(world, &pod)? == after).then_some(())))?;
    let file = started.elapsed().as_secs();
    wait_for("the native Secret has the new version", ROTATION, || {
        let db = native_secret(world)?.map(|[db, _]| serde_json::from_str::<Value>(&db));
        Ok(db.transpose()?.filter(|db| *db == after).map(drop))
    })?;
    let secret = started.elapsed().as_secs();
    if pod.restarts(world, crate::injection::APP)? != 0 {
        bail!("the container was started again");
    }
    Ok(format!("in the file after {file} s, in the native Secret after {secret} s"))
}

fn data(world: &World<'_>, pod: &AppPod) -> Result<Value> {
    Ok(serde_json::from_str(&pod.file(world, "db.json")?)?)
}

/// The values of the native Secret: database and field.
fn native_secret(world: &World<'_>) -> Result<Option<[String; 2]>> {
    let template = "go-template={{range .data}}{{base64decode .}}{{\"\\n\"}}{{end}}";
    let args =
        ["get", "secret", SECRET, "--namespace", World::CSI, "--ignore-not-found", "--output", template];
    let text = world.kubectl.text(&args)?;
    if text.is_empty() {
        return Ok(None);
    }
    // In the order of the keys: STRIPE_KEY, db.json.
    let (stripe, db) = text.split_once('\n').context("the Secret has two keys")?;
    Ok(Some([db.trim().to_owned(), stripe.to_owned()]))
}
