//! The messages of each call, as the descriptors have it: a call that is added to them is covered by itself.

use std::collections::{BTreeMap, HashMap};

use dovetail::Role;
use prost::Message as _;
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet, field_descriptor_proto};

/// How a field's values are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    Varint,
    /// The same, of a bool.
    Bool,
    /// The same, of a number that is a choice: those there are.
    Choice(Vec<u64>),
    Fixed32,
    Fixed64,
    /// The same, of a double.
    Double,
    Text,
    Bytes,
    /// By its full name.
    Message(String),
}

/// A field of a message.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub number: u32,
    pub kind: FieldKind,
    pub repeated: bool,
    /// Of fields with one number, one is there.
    pub oneof: Option<i32>,
}

/// A call.
#[derive(Clone, Debug)]
pub struct Method {
    /// With its package.
    pub service: String,
    pub name: String,
    /// The full name of its request.
    pub input: String,
    /// Whether there may be several requests.
    pub many_requests: bool,
    /// Whether there may be several answers.
    pub many_answers: bool,
}

impl Method {
    pub fn path(&self) -> String {
        format!("/{}/{}", self.service, self.name)
    }

    /// Whether a node of this role answers it with something else than where to go.
    pub fn is_served_by(&self, role: Role) -> bool {
        !self.service.starts_with("dovetail.") || services_of(role).contains(&self.service.as_str())
    }
}

/// All calls and messages.
#[derive(Debug)]
pub struct MessageSchema {
    pub methods: Vec<Method>,
    messages: HashMap<String, Vec<Field>>,
}

impl MessageSchema {
    /// Of every service that nodes have: ours, health and reflection.
    pub fn new() -> MessageSchema {
        let sets = [
            dovetail_wire::DESCRIPTORS,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
        ];
        let sets = sets.map(|set| FileDescriptorSet::decode(set).expect("descriptors are of their own form"));
        let (mut choices, mut found) = (BTreeMap::new(), Vec::new());
        let mut methods = BTreeMap::new();
        for file in sets.iter().flat_map(|set| &set.file) {
            let package = format!(".{}", file.package());
            for of in &file.enum_type {
                let numbers = of.value.iter().map(|value| u64::from(value.number().unsigned_abs()));
                choices.insert(format!("{package}.{}", of.name()), numbers.collect());
            }
            file.message_type.iter().for_each(|message| collect(&package, message, &mut found, &mut choices));
            for service in &file.service {
                let service_name = format!("{}.{}", file.package(), service.name());
                for method in &service.method {
                    let method = Method {
                        service: service_name.clone(),
                        name: method.name().to_owned(),
                        input: method.input_type().to_owned(),
                        many_requests: method.client_streaming(),
                        many_answers: method.server_streaming(),
                    };
                    methods.insert(method.path(), method);
                }
            }
        }
        let fields = |message: &DescriptorProto| message.field.iter().map(|field| read(field, &choices)).collect();
        let messages = found.iter().map(|(name, message)| (name.clone(), fields(message))).collect();
        MessageSchema { methods: methods.into_values().collect(), messages }
    }

    /// The fields of a message.
    pub fn fields(&self, message: &str) -> &[Field] {
        self.messages.get(message).map_or(&[], Vec::as_slice)
    }

    /// Whether a request can say how long its call may take.
    pub fn waits(&self, method: &Method) -> bool {
        self.fields(&method.input).iter().any(|field| field.name == "wait_ms")
    }
}

fn services_of(role: Role) -> &'static [&'static str] {
    dovetail_server::rpc::services_of(role)
}

fn collect<'a>(
    within: &str,
    message: &'a DescriptorProto,
    found: &mut Vec<(String, &'a DescriptorProto)>,
    choices: &mut BTreeMap<String, Vec<u64>>,
) {
    let name = format!("{within}.{}", message.name());
    for of in &message.enum_type {
        let numbers = of.value.iter().map(|value| u64::from(value.number().unsigned_abs()));
        choices.insert(format!("{name}.{}", of.name()), numbers.collect());
    }
    message.nested_type.iter().for_each(|nested| collect(&name, nested, found, choices));
    found.push((name, message));
}

fn read(field: &FieldDescriptorProto, choices: &BTreeMap<String, Vec<u64>>) -> Field {
    use field_descriptor_proto::{Label, Type};
    let kind = match field.r#type() {
        Type::Double => FieldKind::Double,
        Type::Float | Type::Fixed32 | Type::Sfixed32 => FieldKind::Fixed32,
        Type::Fixed64 | Type::Sfixed64 => FieldKind::Fixed64,
        Type::Bool => FieldKind::Bool,
        Type::String => FieldKind::Text,
        Type::Bytes => FieldKind::Bytes,
        Type::Message | Type::Group => FieldKind::Message(field.type_name().to_owned()),
        Type::Enum => FieldKind::Choice(choices.get(field.type_name()).cloned().unwrap_or_default()),
        Type::Int64 | Type::Uint64 | Type::Int32 | Type::Uint32 | Type::Sint32 | Type::Sint64 => FieldKind::Varint,
    };
    Field {
        name: field.name().to_owned(),
        number: field.number().unsigned_abs(),
        kind,
        repeated: field.label() == Label::Repeated,
        oneof: field.oneof_index,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_of_every_role_is_known_with_its_request() {
        let schema = MessageSchema::new();
        let served = |role| schema.methods.iter().filter(|method| method.is_served_by(role)).count();
        // Every node serves health and reflection: two calls, and one in each of two versions.
        let own: usize = Role::ALL.into_iter().map(|role| served(role) - 4).sum();
        let ours = schema.methods.iter().filter(|method| method.service.starts_with("dovetail."));
        // Inspect, Confirm and Follow are of all three roles.
        assert_eq!(own, ours.count() + 3 * 2);
        for method in &schema.methods {
            assert!(schema.messages.contains_key(&method.input), "{}", method.input);
        }
        let submission = schema.fields(".dovetail.v1.Submission");
        let attributes = submission.iter().find(|field| field.name == "attributes").expect("it has some");
        let FieldKind::Message(entry) = &attributes.kind else { panic!("{attributes:?}") };
        assert_eq!(schema.fields(entry).len(), 2);
        assert!(attributes.repeated);
    }

    #[test]
    fn a_choice_has_the_numbers_of_its_values() {
        let schema = MessageSchema::new();
        let role =
            schema.fields(".dovetail.node.v1.Peer").iter().find(|field| field.name == "role").expect("it has one");
        assert_eq!(role.kind, FieldKind::Choice(vec![0, 1, 2, 3]));
    }
}
