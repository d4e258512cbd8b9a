//! The same JSON with its keys in another order.

use serde_json::{Map, Value};

/// `value` with the keys of every object in an order that `seed` chooses. Arrays keep their order.
#[must_use]
pub fn shuffle_keys(value: &Value, seed: u64) -> Value {
    shuffle(value, &mut SplitMix(seed))
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

/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014): the smallest generator that is good
/// enough to order keys, and its sequence never changes under a recorded test case.
struct SplitMix(u64);

impl SplitMix {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let bound = u64::try_from(bound).expect("a length fits in 64 bits");
        usize::try_from(mixed % bound).expect("below a bound that is a usize")
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
