//! How a split is written: percent by slot.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::fraction::Percent;

/// Percent of the traffic by slot.
pub type Shares = BTreeMap<String, Percent>;

/// Reads the shares of a split. A slot that is named twice is refused: it is not known which part was meant.
pub(super) fn each_slot_once<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Shares>, D::Error> {
    struct Parts;

    impl<'de> Visitor<'de> for Parts {
        type Value = Option<Shares>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("percent by slot, as in {\"blue\":95,\"green\":5}")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut shares = Shares::new();
            while let Some((slot, percent)) = map.next_entry::<String, Percent>()? {
                if shares.contains_key(&slot) {
                    return Err(A::Error::custom(format_args!("\"split\" names slot \"{slot}\" twice")));
                }
                shares.insert(slot, percent);
            }
            Ok(Some(shares))
        }
    }

    input.deserialize_any(Parts)
}
