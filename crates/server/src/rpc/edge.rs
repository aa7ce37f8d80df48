//! What is done with every call before its service sees it, and with every answer after that.
//!
//! Calls of services that the node does not serve are told where to go; a client's own deadline ends its call with
//! DEADLINE_EXCEEDED; calls are counted, so that they have a bound, and so that a stop knows which calls it waits for.
//! Streams that would never end by themselves and carry nothing of value (health watches, reflection) end with the
//! stop. Invariant: edge.E1 a call counts from its headers until the last byte of its answer is handed to the
//! connection, or it is dropped.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::time::Sleep;
use tokio_util::{
    sync::WaitForCancellationFutureOwned,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};
use tonic::{
    Status,
    body::Body,
    codegen::http::{HeaderMap, Request, Response},
    service::Routes,
};
use tower::{Layer, Service};

use super::{
    AnswerRoom, NodeCall, NodeIdentity,
    connections::{Bounds, Connections, OpenCall, QuietCall},
    intake::{Form, Intake},
    known::KnownHosts,
    room::UNREAD_MAX,
    shares::{Share, Shares},
};
use crate::{
    auth::{Auth, AuthError, Let, OpenStream},
    caller::Caller,
    fault::Fault,
    settings::NodeSettings,
    shutdown::Shutdown,
    troubles::Troubles,
};
use dovetail::{
    Role,
    pb::{inspect_service_server, match_service_server, operate_service_server},
    reason::Reason,
};
use dovetail_wire::node_pb::{
    candidates_service_server, decisions_service_server, feed_service_server, node_service_server,
};

/// Health, as every role serves it.
pub(super) const HEALTH: &str = "grpc.health.v1.Health";
/// Reflection, in the versions that clients ask in.
pub(super) const REFLECTION: [&str; 2] =
    ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"];

/// Their methods.
const HEALTH_METHODS: [&str; 2] = ["Check", "Watch"];
const REFLECTION_METHODS: [&str; 1] = ["ServerReflectionInfo"];

/// Before a client's deadline passes here, the call ends by it: so much before the transport would end it, with
/// CANCELLED.
const AHEAD: Duration = Duration::from_millis(2);

/// Most calls of health and reflection at a time, of all callers.
const QUIET_CALLS_MAX: usize = 4096;
/// Most calls of operators at a time, and of callers that say they are nodes and are not known as such: each may wait
/// for its turn, and takes some 8 KiB meanwhile.
const OPERATOR_CALLS_MAX: usize = 4096;
/// Largest request of health: the name of a service.
const HEALTH_BYTES_MAX: usize = 1024;
/// Largest request of a client, in bytes, but for those of `Submit`, unless elements may be larger. A larger one is
/// refused with INVALID_ARGUMENT.
const CALL_BYTES_MAX: usize = 256 << 10;
/// What a request for one element may have beside it: its payload, its keys, and the names of its attributes.
const BESIDE_ELEMENT: usize = 128 << 10;
/// Largest request between nodes, of operators, of health and of reflection, in bytes: a cursor for each of 1,024
/// slices fits. A larger one is refused with INVALID_ARGUMENT.
const NODE_REQUEST_BYTES_MAX: usize = 64 << 10;
/// What decoders take that were not told otherwise.
const DECODER_BYTES: usize = 4 << 20;

/// The services of a role, beside health and reflection.
#[must_use]
pub fn services_of(role: Role) -> &'static [&'static str] {
    match role {
        Role::Balancer => &[
            match_service_server::SERVICE_NAME,
            operate_service_server::SERVICE_NAME,
            feed_service_server::SERVICE_NAME,
            inspect_service_server::SERVICE_NAME,
            node_service_server::SERVICE_NAME,
        ],
        Role::Matcher => &[
            candidates_service_server::SERVICE_NAME,
            inspect_service_server::SERVICE_NAME,
            node_service_server::SERVICE_NAME,
        ],
        Role::Gatherer => &[
            decisions_service_server::SERVICE_NAME,
            inspect_service_server::SERVICE_NAME,
            node_service_server::SERVICE_NAME,
        ],
    }
}

/// The edge of a node. Clones are of the same one.
#[derive(Clone, Debug)]
pub struct Edge(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Who may do what.
    auth: Auth,
    /// What is wrong with the node.
    troubles: Troubles,
    role: Role,
    /// `matcher 1 of cluster "c"`.
    here: String,
    index: u32,
    /// The cluster whose nodes have to prove who they are, where there are certificates for that.
    proving: Option<String>,
    balancer: String,
    /// The methods of our services, on whichever node.
    methods: BTreeMap<String, Vec<String>>,
    /// Calls of clients at a time.
    calls: Shares,
    /// Those that any caller may make: health and reflection. They take no part of the clients' caps.
    quiet_calls: Shares,
    /// Those of operators, and of nodes that are not known, for the same reason.
    operator_calls: Shares,
    /// Requests on their way in.
    intake: Intake,
    /// Largest message of `Submit`.
    message_bytes_max: usize,
    /// Largest request of clients' other calls.
    call_bytes_max: usize,
    /// Longest time without a message on a `Submit` stream.
    submit_idle: Option<Duration>,
    /// What calls come by.
    connections: Connections,
    /// Those that a stop waits for.
    open: TaskTracker,
    /// Ends the others. Given once health watches were told that the node is stopping.
    quiet: Shutdown,
}

/// What kind of call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallKind {
    /// Of a client: counted, and waited for.
    Call,
    /// Of another node: never refused because others are many, if it is known to be one.
    Node,
    /// Of an operator: never refused because clients are many.
    Operator,
    /// Ends with the stop.
    Quiet,
    /// Whether the node is well: never refused because others are many, and no reason to keep a connection.
    Probe,
}

impl Edge {
    /// The edge of a node.
    ///
    /// # Errors
    /// When it cannot know who may do what.
    pub fn new(identity: &NodeIdentity, node: &NodeSettings, stop: &Shutdown) -> Result<Edge, AuthError> {
        let descriptors = FileDescriptorSet::decode(dovetail_wire::DESCRIPTORS).unwrap_or_default();
        let services =
            descriptors.file.iter().flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
        let methods = services.map(|(package, service)| {
            let methods = service.method.iter().map(|method| method.name().to_owned());
            (format!("{package}.{}", service.name()), methods.collect())
        });
        let (role, index, name) = (identity.role, identity.index, &identity.cluster.name);
        let proving = node.tls.as_ref().filter(|tls| tls.files.ca.is_some()).map(|_| name.clone());
        Ok(Edge(Arc::new(Shared {
            auth: Auth::open(&node.auth, &identity.troubles, stop)?,
            troubles: identity.troubles.clone(),
            role,
            here: format!("{role} {index} of cluster {name:?}"),
            index,
            connections: Connections::new(Bounds::of(node), KnownHosts::of(&node.addresses), proving.clone()),
            proving,
            balancer: node.addresses.balancers.join(", "),
            methods: methods.collect(),
            calls: Shares::new(node.limits.streams_max, node.limits.client_share_percent),
            quiet_calls: Shares::new(QUIET_CALLS_MAX, node.limits.client_share_percent),
            operator_calls: Shares::new(OPERATOR_CALLS_MAX, node.limits.client_share_percent),
            intake: Intake::new(node.limits.client_share_percent),
            message_bytes_max: node.limits.message_bytes_max,
            call_bytes_max: call_bytes_max(node),
            submit_idle: unless_zero(node.limits.submit_idle_ms_max),
            open: TaskTracker::new(),
            quiet: Shutdown::new(),
        })))
    }

    /// The role whose services are let through.
    pub(super) fn role(&self) -> Role {
        self.0.role
    }

    /// What is wrong with the node.
    pub(super) fn troubles(&self) -> Troubles {
        self.0.troubles.clone()
    }

    /// The connections of the node.
    pub(super) fn connections(&self) -> Connections {
        self.0.connections.clone()
    }

    /// Ends the streams that would never end by themselves.
    pub(super) fn end_quiet(&self) {
        self.0.quiet.give();
    }

    /// Returns once no call is open that a stop waits for.
    pub(super) async fn drained(&self) {
        self.0.open.close();
        self.0.open.wait().await;
    }
}

impl Shared {
    /// Why this node does not serve a call of this service and method.
    fn refuse(&self, service: &str, method: &str) -> Option<Fault> {
        let here = &self.here;
        let own = services_of(self.role);
        let told = |fault: Fault| fault.with("role", self.role).with("index", self.index);
        let unless_known = |methods: &[&str]| {
            let text = || format!("{service} has no method {method:?} in this version; it has {}", methods.join(", "));
            (!methods.contains(&method)).then(|| told(Fault::new(Reason::MethodUnknown, text())))
        };
        match self.methods.get(service) {
            _ if service == HEALTH => unless_known(&HEALTH_METHODS),
            _ if REFLECTION.contains(&service) => unless_known(&REFLECTION_METHODS),
            Some(methods) if own.contains(&service) => {
                unless_known(&methods.iter().map(String::as_str).collect::<Vec<_>>())
            }
            Some(_) => {
                let by = match Role::ALL.into_iter().find(|role| services_of(*role).contains(&service)) {
                    Some(Role::Balancer) => format!("the balancer serves it, at {}", self.balancer),
                    Some(role @ (Role::Matcher | Role::Gatherer)) => format!("{role}s serve it, to other nodes"),
                    None => "no node serves it".to_owned(),
                };
                let text = format!("this is {here}, which does not serve {service}: {by}");
                Some(told(Fault::new(Reason::OtherNode, text)).with("balancer", &self.balancer))
            }
            None => {
                let text = format!("this is {here}, which does not serve {service:?}, but {}", own.join(", "));
                Some(told(Fault::new(Reason::MethodUnknown, text)))
            }
        }
    }

    fn kind(service: &str, method: &str) -> CallKind {
        match service {
            HEALTH if method == "Watch" => CallKind::Quiet,
            HEALTH => CallKind::Probe,
            _ if REFLECTION.contains(&service) => CallKind::Quiet,
            match_service_server::SERVICE_NAME => CallKind::Call,
            inspect_service_server::SERVICE_NAME | operate_service_server::SERVICE_NAME => CallKind::Operator,
            _ => CallKind::Node,
        }
    }

    /// Refuses calls of nodes from callers that are none.
    fn check_node(&self, caller: Option<&Caller>, service: &str, method: &str) -> Result<(), Fault> {
        // A call without a connection is one of this process.
        let (Some(cluster), Some(caller)) = (&self.proving, caller) else { return Ok(()) };
        match NodeCall::of(service, method) {
            Some(call) => call.check(cluster, caller.connection.proved.as_deref()),
            None => Ok(()),
        }
    }

    /// What a request of this method may be. Only `Submit` and reflection have more than one message.
    fn form(&self, service: &str, method: &str) -> Form {
        let one = |bytes, decoder_bytes| Form { bytes, decoder_bytes, idle: None };
        match service {
            match_service_server::SERVICE_NAME if method == "Submit" => {
                let bytes = self.message_bytes_max;
                Form { bytes, decoder_bytes: bytes, idle: Some(self.submit_idle) }
            }
            match_service_server::SERVICE_NAME => one(self.call_bytes_max, self.message_bytes_max),
            HEALTH => one(HEALTH_BYTES_MAX, DECODER_BYTES),
            _ if REFLECTION.contains(&service) => {
                Form { idle: Some(None), ..one(NODE_REQUEST_BYTES_MAX, DECODER_BYTES) }
            }
            _ => one(NODE_REQUEST_BYTES_MAX, DECODER_BYTES),
        }
    }

    /// Refuses calls by a port that serves others.
    fn check_port(&self, caller: Option<&Caller>, service: &str) -> Result<(), Fault> {
        let Some(port) = caller.map(|caller| caller.connection.port) else { return Ok(()) };
        let (served, whom) = match service {
            HEALTH => return Ok(()),
            match_service_server::SERVICE_NAME => (port.clients, "clients"),
            inspect_service_server::SERVICE_NAME | operate_service_server::SERVICE_NAME => {
                (port.operators, "operators")
            }
            _ if REFLECTION.contains(&service) => (port.operators, "operators"),
            _ => (port.nodes, "nodes"),
        };
        if served {
            return Ok(());
        }
        let text = format!("this port of {} is for {port}; {service} is at its port for {whom}", self.here);
        Err(Fault::new(Reason::OtherNode, text).with("role", self.role).with("index", self.index))
    }

    /// Lets a call in, or says why not.
    fn admit(&self, path: &str, caller: Option<&Caller>) -> Result<Admitted, Fault> {
        let (service, method) = path.strip_prefix('/').unwrap_or(path).split_once('/').unwrap_or((path, ""));
        if let Some(fault) = self.refuse(service, method) {
            return Err(fault);
        }
        self.check_port(caller, service)?;
        self.check_node(caller, service, method)?;
        let kind = Shared::kind(service, method);
        let permit = match kind {
            CallKind::Node if caller.is_none_or(|caller| self.connections.is_node(caller)) => None,
            CallKind::Probe => None,
            CallKind::Call => {
                let taken = self.calls.take(caller, 1);
                Some(taken.map_err(|spent| spent.fault("calls and streams of clients are open", "streams_max"))?)
            }
            CallKind::Operator | CallKind::Node => {
                let taken = self.operator_calls.take(caller, 1);
                let what = "calls of operators, and of nodes that are not known, are open";
                Some(taken.map_err(|spent| spent.fault(what, "the most of a node"))?)
            }
            CallKind::Quiet => {
                let taken = self.quiet_calls.take(caller, 1);
                let what = "calls of health and reflection are open";
                Some(taken.map_err(|spent| spent.fault(what, "the most of a node"))?)
            }
        };
        let open = (kind != CallKind::Quiet).then(|| self.open.token());
        let quiet = (kind == CallKind::Quiet).then(|| self.quiet.clone());
        let (of_connection, quiet_call) = match (kind, caller) {
            (_, None) => (None, None),
            (CallKind::Quiet | CallKind::Probe, Some(caller)) => {
                (None, Some(self.connections.quiet_call(caller.connection.number)))
            }
            (CallKind::Call | CallKind::Node | CallKind::Operator, Some(caller)) => {
                (Some(self.connections.call(caller)?), None)
            }
        };
        let form = self.form(service, method);
        let counted =
            Counted { _permit: permit, _open: open, _of_connection: of_connection, _quiet: quiet_call, _stream: None };
        Ok(Admitted { quiet, form, counted })
    }
}

/// A call that was let in.
struct Admitted {
    /// What ends it, when a stop does.
    quiet: Option<Shutdown>,
    /// What its request may be.
    form: Form,
    counted: Counted,
}

/// Counts a call until it is dropped.
struct Counted {
    _permit: Option<Share>,
    _open: Option<TaskTrackerToken>,
    _of_connection: Option<OpenCall>,
    _quiet: Option<QuietCall>,
    /// Of one client.
    _stream: Option<OpenStream>,
}

impl Layer<Routes> for Edge {
    type Service = Edged;

    fn layer(&self, routes: Routes) -> Edged {
        Edged { routes, shared: Arc::clone(&self.0) }
    }
}

/// Services behind an edge.
#[derive(Clone, Debug)]
pub struct Edged {
    routes: Routes,
    shared: Arc<Shared>,
}

impl Service<Request<Body>> for Edged {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request<Body>>::poll_ready(&mut self.routes, cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let mut caller = Caller::of(request.extensions());
        // A caller without permission takes nothing of a cap.
        let admitted = self.shared.auth.admit(request.headers(), caller.as_mut(), request.uri().path());
        let admitted = admitted.and_then(|auth| Ok((auth, self.shared.admit(request.uri().path(), caller.as_ref())?)));
        let (Let { access, stream }, Admitted { quiet, form, mut counted }) = match admitted {
            Ok(admitted) => admitted,
            Err(fault) => return Box::pin(std::future::ready(Ok(Status::from(fault).into_http()))),
        };
        counted._stream = stream;
        request.extensions_mut().insert(access);
        if let Some(caller) = caller.clone() {
            request.extensions_mut().insert(caller);
        }
        let deadline =
            timeout(request.headers()).map(|timeout| (timeout, Box::pin(tokio::time::sleep(ahead(timeout)))));
        let number = caller.as_ref().map(|caller| caller.connection.number);
        let request = request.map(|body| self.shared.intake.receive(body, form, caller));
        let request = match &quiet {
            None => request,
            // Reflection reads on until its client ends the stream.
            Some(quiet) => request.map(|body| Body::new(Guarded::new(body).until(quiet.clone()))),
        };
        let answer = self.routes.call(request);
        let after = After { connections: self.shared.connections.clone(), number, quiet, counted };
        Box::pin(Answered { answer, deadline, after: Some(after), held: None })
    }
}

pin_project! {
    /// A call that was let in, until it is answered. There may be a hundred thousand that wait, so it is small: an
    /// `async` block would have `answer` twice.
    struct Answered {
        #[pin]
        answer: <Routes as Service<Request<Body>>>::Future,
        deadline: Option<Deadline>,
        // Until there is an answer.
        after: Option<After>,
        // An answer that is encoded into the room that was made for it.
        held: Option<Pin<Box<dyn Future<Output = Response<Body>> + Send>>>,
    }
}

/// How long a call may take, and the end of that.
type Deadline = (Duration, Pin<Box<Sleep>>);

/// What is done with an answer.
struct After {
    connections: Connections,
    /// Of the connection.
    number: Option<u64>,
    quiet: Option<Shutdown>,
    counted: Counted,
}

impl Future for Answered {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.held.is_none() {
            let Poll::Ready(response) = this.answer.poll(cx) else {
                let Some((timeout, sleep)) = this.deadline else { return Poll::Pending };
                ready!(sleep.as_mut().poll(cx));
                return Poll::Ready(Ok(deadline_passed(*timeout).into_http()));
            };
            let mut response = response?;
            if let Some(status) = malformed(response.headers()) {
                return Poll::Ready(Ok(status.into_http()));
            }
            let Some(after) = this.after.take() else { return Poll::Ready(Ok(response)) };
            let Some(room) = response.extensions_mut().remove::<AnswerRoom>() else {
                return Poll::Ready(Ok(response.map(|body| after.guard(body, this.deadline.take()))));
            };
            after.close_unless_read(&room);
            let (parts, body) = response.into_parts();
            let deadline = this.deadline.take();
            let hold = async move { Response::from_parts(parts, after.guard(room.hold(body).await, deadline)) };
            *this.held = Some(Box::pin(hold));
        }
        match this.held {
            Some(held) => held.as_mut().poll(cx).map(Ok),
            None => Poll::Pending,
        }
    }
}

impl After {
    /// Closes the connection of a client that does not read its answer.
    fn close_unless_read(&self, room: &AnswerRoom) {
        let (connections, Some(number)) = (self.connections.clone(), self.number) else { return };
        room.by(UNREAD_MAX, move || {
            tracing::warn!(connection = number, "a connection is closed: its client does not read");
            connections.close(number);
        });
    }

    /// The body of the answer, which counts until its end.
    fn guard(self, body: Body, deadline: Option<Deadline>) -> Body {
        let mut guarded = Guarded { deadline, ..Guarded::new(body).counted(self.counted) };
        if let Some(quiet) = self.quiet {
            guarded = guarded.until(quiet);
        }
        Body::new(guarded)
    }
}

fn deadline_passed(timeout: Duration) -> Status {
    let text = format!("the deadline of this call passed: {timeout:?} after it came, it was not answered");
    Fault::new(Reason::DeadlinePassed, text).with("timeout_ms", timeout.as_millis()).into()
}

fn stopping() -> Status {
    Fault::new(Reason::NodeStopping, "the node is stopping").into()
}

/// What stands for the error of a decoder, which takes it for the server's own: INTERNAL, without details.
fn malformed(headers: &HeaderMap) -> Option<Status> {
    if headers.get("grpc-status")? != "13" || headers.contains_key("grpc-status-details-bin") {
        return None;
    }
    let status = Status::from_header_map(headers)?;
    let text = status.message().strip_prefix("failed to decode Protobuf message: ")?;
    let text = format!("the request is no message of its type: {text}");
    Some(Fault::new(Reason::MessageMalformed, text).into())
}

/// An element with all that it may have fits.
fn call_bytes_max(node: &NodeSettings) -> usize {
    let element = usize::try_from(node.limits.element_bytes_max).unwrap_or(usize::MAX);
    element.saturating_add(BESIDE_ELEMENT).max(CALL_BYTES_MAX)
}

/// A time; none when it is 0, for ever.
fn unless_zero(milliseconds: u64) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

/// After how long a call with this timeout ends here.
fn ahead(timeout: Duration) -> Duration {
    timeout.saturating_sub(AHEAD).max(timeout / 2)
}

/// What a client says it waits at most: up to eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A body that ends when its time is over.
struct Guarded {
    body: Body,
    /// When it ends, with DEADLINE_EXCEEDED.
    deadline: Option<Deadline>,
    quiet: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    _counted: Option<Counted>,
}

impl Guarded {
    fn new(body: Body) -> Guarded {
        Guarded { body, deadline: None, quiet: None, _counted: None }
    }

    /// Counts until this is dropped.
    fn counted(self, counted: Counted) -> Guarded {
        Guarded { _counted: Some(counted), ..self }
    }

    /// Ends with the signal, with UNAVAILABLE, once all is sent that is there.
    fn until(self, signal: Shutdown) -> Guarded {
        Guarded { quiet: Some(Box::pin(signal.given_owned())), ..self }
    }

    /// The last frame. What made the body goes at once.
    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        (self.body, self.deadline, self.quiet) = (Body::empty(), None, None);
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(match status.add_header(&mut trailers) {
            Ok(()) => Ok(Frame::trailers(trailers)),
            Err(error) => Err(error),
        }))
    }
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // First: a stream that always has something would go on for ever.
        if let Some((timeout, sleep)) = &mut self.deadline
            && sleep.as_mut().poll(cx).is_ready()
        {
            let status = deadline_passed(*timeout);
            return self.end(&status);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let trailers = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.trailers_ref());
            return match trailers.and_then(malformed) {
                Some(status) => self.end(&status),
                None => Poll::Ready(frame),
            };
        }
        if let Some(quiet) = &mut self.quiet
            && quiet.as_mut().poll(cx).is_ready()
        {
            return self.end(&stopping());
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::caller::{ClientId, Connection, Port};

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        let read = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            timeout(&headers)
        };
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("3S"), Some(Duration::from_secs(3)));
        assert_eq!(read("99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(read("4u"), Some(Duration::from_micros(4)));
        assert_eq!(read("5n"), Some(Duration::from_nanos(5)));
        for text in ["", "m", "5", "5x", "-5m", "+5m", "123456789m", "5é"] {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", tonic::codegen::http::HeaderValue::from_bytes(text.as_bytes()).unwrap());
            assert_eq!(timeout(&headers), None, "{text:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }

    fn shared(role: Role, calls_max: usize) -> Shared {
        let descriptors = [
            ("v1.MatchService", "Submit"),
            ("node.v1.CandidatesService", "Candidates"),
            ("v1.InspectService", "Inspect"),
        ];
        Shared {
            auth: Auth::default(),
            role,
            here: format!("{role} 1 of cluster \"c\""),
            index: 1,
            proving: None,
            balancer: "http://10.0.0.1:7400".to_owned(),
            methods: descriptors.map(|(name, method)| (format!("dovetail.{name}"), vec![method.to_owned()])).into(),
            calls: Shares::new(calls_max, 100),
            quiet_calls: Shares::new(1, 100),
            operator_calls: Shares::new(4, 50),
            intake: Intake::new(100),
            message_bytes_max: 1 << 20,
            call_bytes_max: CALL_BYTES_MAX,
            submit_idle: None,
            troubles: Troubles::default(),
            connections: Connections::new(Bounds { node: 9, address: 9, process: 9 }, KnownHosts::default(), None),
            open: TaskTracker::new(),
            quiet: Shutdown::new(),
        }
    }

    fn refused(shared: &Shared, path: &str) -> Status {
        shared.admit(path, None).err().unwrap_or_else(|| panic!("{path} was let in")).into()
    }

    #[test]
    fn a_call_of_another_nodes_service_is_told_where_to_go() {
        let matcher = shared(Role::Matcher, 1);
        let status = refused(&matcher, "/dovetail.v1.MatchService/Submit");
        assert_eq!(status.code(), Code::Unimplemented);
        let text = "this is matcher 1 of cluster \"c\", which does not serve dovetail.v1.MatchService: the balancer serves it, \
                    at http://10.0.0.1:7400";
        assert_eq!(status.message(), text);
        let info = status.get_error_details().error_info().unwrap().clone();
        assert_eq!((info.reason.as_str(), info.metadata["balancer"].as_str()), ("OTHER_NODE", "http://10.0.0.1:7400"));
        let status = refused(&shared(Role::Balancer, 1), "/dovetail.node.v1.CandidatesService/Candidates");
        assert!(status.message().contains("matchers serve it"), "{}", status.message());
        for path in ["/", "", "/x", "/a.B/C", "//", "/dovetail.v1.InspectService", "/dovetail.v1.InspectService/Expect"]
        {
            assert_eq!(refused(&matcher, path).code(), Code::Unimplemented, "{path:?}");
        }
        assert!(matcher.admit("/dovetail.v1.InspectService/Inspect", None).is_ok());
    }

    #[test]
    fn operators_have_so_many_calls_at_a_time_and_one_client_leaves_some_to_others() {
        let matcher = shared(Role::Matcher, 1);
        let inspect = |last, number| {
            let caller = crate::rpc::shares::tests::caller(last, number);
            matcher.admit("/dovetail.v1.InspectService/Inspect", Some(&caller)).map_err(Status::from)
        };
        let _open = [inspect(1, 1).ok().unwrap(), inspect(1, 2).ok().unwrap()];
        let refused = inspect(1, 3).err().unwrap();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(refused.message().contains("2 calls of operators, and of nodes that are not known"), "{refused}");
        assert!(refused.message().contains("10.0.0.1"), "{refused}");
        let other = inspect(2, 4).ok().unwrap();
        drop(other);
        assert!(inspect(2, 4).is_ok());
        let candidates = |caller| matcher.admit("/dovetail.node.v1.CandidatesService/Candidates", caller).is_ok();
        let stranger = crate::rpc::shares::tests::caller(1, 3);
        assert!(!candidates(Some(&stranger)), "it says that it is a node");
        assert!(candidates(None), "nodes are not counted");
    }

    #[test]
    fn a_port_serves_those_it_is_for_and_names_the_port_for_the_others() {
        let balancer = shared(Role::Balancer, 9);
        let by = |port| {
            let connection =
                Connection { number: 1, address: std::net::Ipv4Addr::LOCALHOST.into(), port, proved: None };
            Caller { client: ClientId::Address(connection.address), connection }
        };
        let clients = Port { clients: true, ..Port { nodes: false, operators: false, ..Port::ALL } };
        let services = [
            (match_service_server::SERVICE_NAME, clients, "its port for clients"),
            (feed_service_server::SERVICE_NAME, Port::NODES, "its port for nodes"),
            (inspect_service_server::SERVICE_NAME, Port::OPERATORS, "its port for operators"),
            (REFLECTION[1], Port::OPERATORS, "its port for operators"),
        ];
        for (service, own, whom) in services {
            for port in [clients, Port::NODES, Port::OPERATORS] {
                match balancer.check_port(Some(&by(port)), service) {
                    Ok(()) => assert_eq!(port, own, "{service}"),
                    Err(fault) => {
                        let text = Status::from(fault).message().to_owned();
                        assert!(
                            port != own && text.contains(whom) && text.contains(&format!("is for {port};")),
                            "{text}"
                        );
                    }
                }
                assert!(balancer.check_port(Some(&by(port)), HEALTH).is_ok());
            }
            assert!(balancer.check_port(Some(&by(Port::ALL)), service).is_ok());
            assert!(balancer.check_port(None, service).is_ok(), "a call of this process");
        }
    }

    #[test]
    fn a_method_that_no_service_has_is_told_so_also_of_health_and_reflection() {
        let balancer = shared(Role::Balancer, 9);
        for path in [
            "/grpc.health.v1.Health/Chek",
            "/grpc.health.v1.Health",
            "/grpc.reflection.v1.ServerReflection/Ask",
            "/grpc.reflection.v1alpha.ServerReflection/",
            "/dovetail.v1.MatchService/Submitt",
            // One slash too many is another path, which no service has.
            "//dovetail.v1.MatchService/Submit",
            "//grpc.health.v1.Health/Check",
        ] {
            let status = refused(&balancer, path);
            let details = status.get_error_details();
            assert_eq!(status.code(), Code::Unimplemented, "{path}");
            assert_eq!(details.error_info().map(|info| info.reason.as_str()), Some("METHOD_UNKNOWN"), "{path}");
        }
        for path in ["/grpc.health.v1.Health/Check", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"] {
            assert!(balancer.admit(path, None).is_ok(), "{path}");
        }
    }

    #[test]
    fn when_clients_are_too_many_more_are_refused_and_nodes_and_operators_are_not() {
        let balancer = shared(Role::Balancer, 2);
        let watch = balancer.admit("/grpc.health.v1.Health/Watch", None).unwrap_or_else(|_| panic!("there is room"));
        let second = refused(&balancer, "/grpc.health.v1.Health/Watch");
        assert!(second.message().contains("1 calls of health and reflection are open"), "{}", second.message());
        let other =
            balancer.admit("/dovetail.v1.MatchService/Submit", None).unwrap_or_else(|_| panic!("there is room"));
        let call = balancer.admit("/dovetail.v1.MatchService/Submit", None).unwrap_or_else(|_| panic!("there is room"));
        let status = refused(&balancer, "/dovetail.v1.MatchService/Submit");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert!(
            status.message().contains("2 calls") && status.message().contains("streams_max"),
            "{}",
            status.message()
        );
        assert!(balancer.admit("/grpc.health.v1.Health/Check", None).is_ok());
        assert!(balancer.admit("/dovetail.v1.InspectService/Inspect", None).is_ok());
        drop((watch, other, call));
        assert!(balancer.admit("/dovetail.v1.MatchService/Submit", None).is_ok());
    }

    #[tokio::test]
    async fn a_stop_waits_for_calls_and_not_for_health_watches() {
        let balancer = shared(Role::Balancer, 9);
        let _watch = balancer.admit("/grpc.health.v1.Health/Watch", None);
        let call = balancer.admit("/dovetail.v1.MatchService/Submit", None);
        balancer.open.close();
        let waits = tokio::time::timeout(Duration::from_millis(1), balancer.open.wait()).await;
        assert!(waits.is_err(), "a call is open");
        drop(call);
        balancer.open.wait().await;
    }

    #[tokio::test]
    async fn a_stream_ends_at_the_clients_deadline_and_at_the_signal() {
        let endless = || Body::new(never());
        let soon = Duration::from_millis(5);
        let deadline = Some((soon, Box::pin(tokio::time::sleep(soon))));
        let by = Guarded { deadline, ..Guarded::new(endless()) };
        assert_eq!(last_code(by).await, "4");
        let signal = Shutdown::new();
        let until = Guarded::new(endless()).until(signal.clone());
        signal.give();
        assert_eq!(last_code(until).await, "14");
    }

    /// A body that never has anything.
    fn never() -> impl http_body::Body<Data = Bytes, Error = Status> + Send + 'static {
        struct Never;
        impl http_body::Body for Never {
            type Data = Bytes;
            type Error = Status;
            fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
                Poll::Pending
            }
        }
        Never
    }

    async fn last_code(mut body: Guarded) -> String {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.unwrap().unwrap();
        let code = frame.trailers_ref().unwrap()["grpc-status"].to_str().unwrap().to_owned();
        assert!(body.is_end_stream());
        code
    }
}
