//! Changes the order of keys in JSON.

use serde_json::{Map, Value};

use crate::SplitMix;

/// `value` with the keys of every object in an order determined by `seed`. Arrays keep their order.
#[must_use]
pub fn shuffle_keys(value: &Value, seed: u64) -> Value {
    shuffle(value, &mut SplitMix::new(seed))
}

fn shuffle(value: &Value, random: &mut SplitMix) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            for end in (1..entries.len()).rev() {
                entries.swap(end, random.below(end + 1));
            }
            let shuffled: Map<_, _> =
                entries.into_iter().map(|(key, value)| (key.clone(), shuffle(value, random))).collect();
            Value::Object(shuffled)
        }
        Value::Array(items) => items.iter().map(|item| shuffle(item, random)).collect(),
        scalar => scalar.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn another_order_of_the_same_json() {
        let value = json!({"a": 1, "b": {"c": 2, "d": [3, {"e": 4, "f": 5}]}, "g": null, "h": 6});
        let texts: std::collections::BTreeSet<_> = (0..20)
            .map(|seed| {
                let shuffled = shuffle_keys(&value, seed);
                assert_eq!(shuffled, value);
                shuffled.to_string()
            })
            .collect();
        assert!(texts.len() > 10, "only {} orders", texts.len());
    }
}
