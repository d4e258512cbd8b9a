//! A pod's quality-of-service class, computed as the kubelet does.
//!
//! Follows `ComputePodQOS` of `k8s.io/kubernetes/pkg/apis/core/v1/helper/qos`: init containers
//! count, zero counts as absent, and only `cpu` and `memory` matter. The API server's default of a
//! request (its limit) is applied first, because a manifest may omit it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::inspect::entries;

/// The class that decides the order of eviction, and which pods may have exclusive CPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Every container has cpu and memory limits, and equal requests.
    Guaranteed,
    /// There is a request or a limit.
    Burstable,
    /// There are neither requests nor limits.
    BestEffort,
}

/// The class of a pod. Quantities that cannot be parsed count as absent.
pub fn class(pod: &Value) -> Class {
    let pod_level = &pod["spec"]["resources"];
    let all: Vec<_> = if pod_level.is_object() {
        vec![Resources::parse(pod_level)]
    } else {
        ["containers", "initContainers"]
            .iter()
            .flat_map(|list| entries(pod, list))
            .map(|container| Resources::parse(&container["resources"]))
            .collect()
    };
    if all.iter().all(Resources::is_empty) {
        Class::BestEffort
    } else if all.iter().all(Resources::is_guaranteed) {
        Class::Guaranteed
    } else {
        Class::Burstable
    }
}

struct Resources {
    requests: BTreeMap<&'static str, i128>,
    limits: BTreeMap<&'static str, i128>,
}

impl Resources {
    fn parse(resources: &Value) -> Self {
        let limits = quantities(&resources["limits"]);
        let mut requests = limits.clone();
        requests.extend(quantities(&resources["requests"]));
        Self { requests, limits }
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.limits.is_empty()
    }

    fn is_guaranteed(&self) -> bool {
        self.limits.len() == 2 && self.requests == self.limits
    }
}

fn quantities(list: &Value) -> BTreeMap<&'static str, i128> {
    ["cpu", "memory"]
        .into_iter()
        .filter_map(|name| {
            let nano = match &list[name] {
                Value::String(text) => quantity_nano(text)?,
                Value::Number(number) => quantity_nano(&number.to_string())?,
                _ => return None,
            };
            (nano != 0).then_some((name, nano))
        })
        .collect()
}

/// A Kubernetes quantity in billionths: `100m`, `64Mi`, `0.5`, `1e3`. `None` if it is invalid or
/// exceeds 128 bits.
pub fn quantity_nano(text: &str) -> Option<i128> {
    const NANO: i128 = 1_000_000_000;
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(digits);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let scale = 10_i128.checked_pow(fraction.len().try_into().ok()?)?;
    let mantissa: i128 = format!("0{whole}{fraction}").parse().ok()?;
    let nano = mantissa.checked_mul(NANO)?;
    let scaled = match suffix {
        "n" => nano / NANO,
        "u" => nano / 1_000_000,
        "m" => nano / 1_000,
        "" => nano,
        "k" => nano.checked_mul(1_000)?,
        "M" => nano.checked_mul(1_000_000)?,
        "G" => nano.checked_mul(1_000_000_000)?,
        "T" => nano.checked_mul(1_000_000_000_000)?,
        "Ki" => nano.checked_mul(1 << 10)?,
        "Mi" => nano.checked_mul(1 << 20)?,
        "Gi" => nano.checked_mul(1 << 30)?,
        "Ti" => nano.checked_mul(1 << 40)?,
        exponent => {
            let exponent: u32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            nano.checked_mul(10_i128.checked_pow(exponent)?)?
        }
    };
    Some(scaled / scale)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn class_of(containers: &[Value]) -> Class {
        let containers: Vec<_> = containers.iter().map(|resources| json!({"resources": resources})).collect();
        class(&json!({"spec": {"containers": containers}}))
    }

    #[test]
    fn classes() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        assert_eq!(class_of(std::slice::from_ref(&full)), Class::Guaranteed);
        assert_eq!(
            class_of(&[full.clone(), json!({"limits": {"cpu": 2, "memory": "1e9"}})]),
            Class::Guaranteed
        );
        assert_eq!(class_of(&[full.clone(), json!({})]), Class::Burstable);
        assert_eq!(class_of(&[full.clone(), json!({"limits": {"cpu": "1"}})]), Class::Burstable);
        let less = json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "999m"}});
        assert_eq!(class_of(&[less]), Class::Burstable);
        assert_eq!(class_of(&[json!({}), json!({"requests": {"cpu": "0"}})]), Class::BestEffort);
    }

    #[test]
    fn init_containers_and_the_pod_level_count() {
        let full = json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let mut pod =
            json!({"spec": {"containers": [{"resources": full}], "initContainers": [{"name": "i"}]}});
        assert_eq!(class(&pod), Class::Burstable);
        pod["spec"]["resources"] = full;
        assert_eq!(class(&pod), Class::Guaranteed);
    }

    #[test]
    fn quantities_in_billionths() {
        for (text, nano) in [
            ("1", Some(1_000_000_000)),
            ("100m", Some(100_000_000)),
            ("0.1", Some(100_000_000)),
            (".5", Some(500_000_000)),
            ("2Ki", Some(2_048_000_000_000)),
            ("1e3", Some(1_000_000_000_000)),
            ("", None),
            ("Mi", None),
            ("1 Mi", None),
            ("-1", None),
        ] {
            assert_eq!(quantity_nano(text), nano, "{text}");
        }
    }
}
