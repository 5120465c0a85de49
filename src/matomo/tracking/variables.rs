//! Custom variables: `cvar` and `_cvar`, which are JSON texts within JSON.

use crate::hit::LoggedRequest;
use crate::matomo::json;

/// Writes one of the two members: `,"cvar":"{\"1\":[\"HTTP-code\",\"200\"]}"`, and nothing where there are no
/// variables.
pub struct Variables<'o> {
    out: &'o mut Vec<u8>,
    name: &'static str,
    number: u32,
}

impl<'o> Variables<'o> {
    pub fn new(name: &'static str, out: &'o mut Vec<u8>) -> Self {
        Self {
            out,
            name,
            number: 0,
        }
    }

    /// Fields as they were read; `-` and absent ones leave no gap.
    pub fn push_fields(&mut self, request: &LoggedRequest, fields: &[(String, String)]) {
        for (field, name) in fields {
            match request.raw(field) {
                None | Some(b"-") => {}
                Some(value) => self.push(name, value),
            }
        }
    }

    pub fn push(&mut self, name: &str, value: &[u8]) {
        self.number += 1;
        if self.number == 1 {
            self.out.extend_from_slice(b",\"");
            self.out.extend_from_slice(self.name.as_bytes());
            self.out.extend_from_slice(b"\":\"{");
        } else {
            self.out.push(b',');
        }
        self.out.extend_from_slice(b"\\\"");
        json::push_number(self.out, self.number);
        self.out.extend_from_slice(b"\\\":[\\\"");
        push_twice(self.out, name.as_bytes());
        self.out.extend_from_slice(b"\\\",\\\"");
        push_twice(self.out, value);
        self.out.extend_from_slice(b"\\\"]");
    }

    pub fn end(self) {
        if self.number > 0 {
            self.out.extend_from_slice(b"}\"");
        }
    }
}

/// Appends a text as the inside of a JSON string inside a JSON string.
fn push_twice(out: &mut Vec<u8>, text: &[u8]) {
    if json::is_plain(text) {
        out.extend_from_slice(text);
    } else {
        let mut once = Vec::new();
        json::push_text(&mut once, text);
        json::push_text(out, &once);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn written(variables: &[(&str, &[u8])]) -> String {
        let mut out = Vec::new();
        let mut member = Variables::new("cvar", &mut out);
        for (name, value) in variables {
            member.push(name, value);
        }
        member.end();
        String::from_utf8(out).unwrap()
    }

    fn read(written: &str) -> Value {
        let whole: Value = serde_json::from_str(&format!("{{\"x\":1{written}}}")).unwrap();
        serde_json::from_str(whole["cvar"].as_str().unwrap()).unwrap()
    }

    #[test]
    fn variables_are_a_text_of_json() {
        let text = written(&[("HTTP-method", b"GET"), ("HTTP-code", b"200")]);
        let expected =
            r#","cvar":"{\"1\":[\"HTTP-method\",\"GET\"],\"2\":[\"HTTP-code\",\"200\"]}""#;
        assert_eq!(text, expected);
    }

    #[test]
    fn no_variables_leave_no_trace() {
        assert_eq!(written(&[]), "");
    }

    proptest! {
        #[test]
        fn any_name_and_value_come_back(name in any::<String>(), value in any::<Vec<u8>>()) {
            let found = read(&written(&[("first", b"\"\\"), (&name, &value)]));
            let lossy = String::from_utf8_lossy(&value);
            prop_assert_eq!(found, json!({"1": ["first", "\"\\"], "2": [name, lossy]}));
        }
    }
}
