//! Reading what clients written from loose documents send: numbers where ids are texts, an object around a bare id.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::value::RawValue;

/// A text, or a number, which is the same as its decimal text: many clients keep ids as numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Text, E> {
                Ok(Text(number.to_string()))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// A room or conversation: its bare name, or an object with it as `roomId` or `conversationId`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomRef(pub String);

impl<'de> Deserialize<'de> for RoomRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            #[serde(rename = "roomId", alias = "conversationId")]
            room: Text,
        }
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = RoomRef;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the id of a room")
            }
            fn visit_str<E>(self, name: &str) -> Result<RoomRef, E> {
                Ok(RoomRef(name.to_owned()))
            }
            fn visit_u64<E>(self, name: u64) -> Result<RoomRef, E> {
                Ok(RoomRef(name.to_string()))
            }
            fn visit_i64<E>(self, name: i64) -> Result<RoomRef, E> {
                Ok(RoomRef(name.to_string()))
            }
            fn visit_f64<E: Error>(self, name: f64) -> Result<RoomRef, E> {
                Ok(RoomRef(name.to_string()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RoomRef, A::Error> {
                Object::deserialize(MapAccessDeserializer::new(map)).map(|object| RoomRef(object.room.0))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Any JSON value, passed on as it came.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Any(pub Box<RawValue>);

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn a_number_is_its_text() {
        for (sent, read) in
            [(json!("7"), "7"), (json!(7), "7"), (json!(-7), "-7"), (json!(1.5), "1.5"), (json!(""), "")]
        {
            assert_eq!(from_value::<Text>(sent).unwrap().0, read);
        }
        for wrong in [json!(null), json!(true), json!([]), json!({})] {
            assert!(from_value::<Text>(wrong).is_err());
        }
    }

    #[test]
    fn a_room_is_named_in_several_ways() {
        for sent in [json!("7"), json!(7), json!({"roomId": 7}), json!({"conversationId": "7"})] {
            assert_eq!(from_value::<RoomRef>(sent).unwrap(), RoomRef("7".to_owned()));
        }
        let missing = from_value::<RoomRef>(json!({})).unwrap_err().to_string();
        assert_eq!(missing, "missing field `roomId`");
        for wrong in [json!(null), json!([]), json!({"roomId": null}), json!(false)] {
            assert!(from_value::<RoomRef>(wrong).is_err());
        }
    }
}
