//! The built-in JSON formats, in the order of guide/formats.md, "Built-in formats".

use super::convert::Conversion;
use super::map::{KeyMap, MapTarget};
use crate::format::Field;

/// A JSON format as data.
#[derive(Debug)]
pub struct KeyTable {
    pub name: &'static str,
    /// In the language of `--json-map`, the keys in the order in which servers usually write them.
    pub map: &'static [&'static str],
    /// How fields are written, if that is not usual.
    pub conversions: &'static [(Field, Conversion)],
    /// Fields that a line may have but that do not count as fields of the format.
    pub uncounted: &'static [Field],
    /// Fields that are parts of others.
    pub implied: &'static [Field],
    /// Detection takes only lines with all of these keys,
    pub detected_by: &'static [&'static str],
    /// and with one of these, if there are any.
    pub detected_by_any: &'static [&'static str],
}

impl KeyTable {
    pub const NONE: Self = Self {
        name: "",
        map: &[],
        conversions: &[],
        uncounted: &[],
        implied: &[],
        detected_by: &[],
        detected_by_any: &[],
    };

    pub fn map(&self) -> KeyMap {
        let mut map = KeyMap::built_in(&self.map.join(","));
        for entry in &mut map.0 {
            if let MapTarget::Field(field, conversion) = &mut entry.target {
                let mut own = self.conversions.iter();
                if let Some((_, special)) = own.find(|(special, _)| special == field) {
                    *conversion = *special;
                }
            }
        }
        map
    }
}

pub static TABLES: [KeyTable; 10] = [
    // nginx has no JSON format of its own. Users write one whose keys are named as our fields.
    KeyTable {
        name: "nginx_json",
        map: &[
            "ip=ip",
            "host=host",
            "path=path",
            "status=status",
            "referrer=referrer",
            "user_agent=user_agent",
            "length=length",
            // nginx's `$request_time` is in seconds.
            "generation_time_s=generation_time_milli",
            "date=date",
            "timezone=timezone",
            "userid=userid",
            "method=method",
            "generation_time_s=generation_time_secs",
            "generation_time_us=generation_time_micro",
            "event_category=event_category",
            "event_action=event_action",
            "event_name=event_name",
            "session_time=session_time",
            "query_string=query_string",
            "time=time",
            "scheme=scheme",
            "x_forwarded_for=x_forwarded_for",
        ],
        uncounted: &[
            Field::QueryString,
            Field::Time,
            Field::Scheme,
            Field::ForwardedFor,
        ],
        detected_by: &["referrer", "date"],
        ..KeyTable::NONE
    },
    KeyTable {
        name: "traefik_json",
        map: &[
            "ip=ClientHost",
            "userid=ClientUsername",
            "length=DownstreamContentSize",
            "status=DownstreamStatus",
            "generation_time_ns=Duration",
            "host=RequestHost",
            "method=RequestMethod",
            "path=RequestPath",
            "scheme=RequestScheme",
            "referrer=request_Referer",
            "user_agent=request_User-Agent",
            "x_forwarded_for=request_X-Forwarded-For",
            // A log that a user has cut down may lack it.
            "date=time|StartUTC",
        ],
        uncounted: &[Field::Scheme, Field::ForwardedFor],
        // Half of the programs written in Go log `msg`, `level` and `time`. Only Traefik has these.
        detected_by: &["msg", "level", "time"],
        detected_by_any: &[
            "ClientHost",
            "RequestPath",
            "RequestMethod",
            "DownstreamStatus",
            "entryPointName",
            "RouterName",
        ],
        ..KeyTable::NONE
    },
    KeyTable {
        name: "caddy_json",
        map: &[
            "date=ts",
            // Caddy before 2.7 has no `client_ip`, before 2.5 only `remote_addr`.
            "ip=request.client_ip|request.remote_ip|request.remote_addr",
            "method=request.method",
            "host=request.host",
            "path=request.uri",
            "user_agent=request.headers.User-Agent[0]",
            "referrer=request.headers.Referer[0]",
            "x_forwarded_for=request.headers.X-Forwarded-For[0]",
            "userid=user_id",
            "generation_time_s=duration",
            "length=size",
            "status=status",
        ],
        uncounted: &[Field::ForwardedFor],
        detected_by: &["request", "ts", "status", "duration"],
        ..KeyTable::NONE
    },
    // Envoy's default, and those of Istio, Contour and Envoy Gateway.
    KeyTable {
        name: "envoy_json",
        map: &[
            "date=start_time|@timestamp",
            "method=method",
            "path=x-envoy-origin-path|path",
            "status=response_code",
            "length=bytes_sent",
            "generation_time_ms=duration",
            "x_forwarded_for=x_forwarded_for|x-forwarded-for",
            "user_agent=user_agent|user-agent",
            "host=authority|:authority",
            "ip=downstream_remote_address|x_forwarded_for|x-forwarded-for",
            "referrer=referer",
        ],
        conversions: &[(Field::Ip, Conversion::Peer)],
        detected_by: &["response_code", "method", "bytes_sent"],
        detected_by_any: &["response_flags", "authority", ":authority"],
        ..KeyTable::NONE
    },
    KeyTable {
        name: "cloudflare_json",
        map: &[
            "ip=ClientIP",
            "host=ClientRequestHost",
            "method=ClientRequestMethod",
            "path=ClientRequestURI|ClientRequestPath",
            "scheme=ClientRequestScheme",
            "referrer=ClientRequestReferer",
            "user_agent=ClientRequestUserAgent",
            "length=EdgeResponseBytes",
            "status=EdgeResponseStatus",
            "date=EdgeStartTimestamp|EdgeEndTimestamp",
            "generation_time_ms=EdgeTimeToFirstByteMs",
        ],
        detected_by: &["ClientIP", "EdgeResponseStatus"],
        ..KeyTable::NONE
    },
    // CloudFront's standard logs, version 2, and its real-time logs as JSON.
    KeyTable {
        name: "cloudfront_json",
        map: &[
            "date=timestamp(ms)|timestamp|date",
            "time=time",
            "length=sc-bytes",
            "ip=c-ip",
            "method=cs-method",
            "host=x-host-header|cs(Host)|cs-host",
            "path=cs-uri-stem",
            "status=sc-status",
            "referrer=cs(Referer)|cs-referer",
            "user_agent=cs(User-Agent)|cs-user-agent",
            "query_string=cs-uri-query",
            "scheme=cs-protocol",
            "generation_time_s=time-taken",
            "x_forwarded_for=x-forwarded-for",
        ],
        conversions: &[(Field::UserAgent, Conversion::PercentEncoded(2))],
        detected_by: &["c-ip", "cs-uri-stem", "sc-status"],
        ..KeyTable::NONE
    },
    // The load balancers of Google Cloud, Cloud Run and others that log an `httpRequest`.
    KeyTable {
        name: "google_json",
        map: &[
            "method=httpRequest.requestMethod",
            "path=httpRequest.requestUrl",
            "status=httpRequest.status",
            "length=httpRequest.responseSize",
            "user_agent=httpRequest.userAgent",
            "ip=httpRequest.remoteIp",
            "referrer=httpRequest.referer",
            "generation_time_s=httpRequest.latency",
            "date=timestamp",
        ],
        // A whole URL.
        implied: &[Field::Scheme, Field::Host],
        detected_by: &["httpRequest.requestUrl", "httpRequest.status"],
        ..KeyTable::NONE
    },
    KeyTable {
        name: "azure_front_door_json",
        map: &[
            "date=time",
            "method=properties.httpMethod",
            "path=properties.requestUri",
            "length=properties.responseBytes",
            "user_agent=properties.userAgent",
            "ip=properties.clientIp",
            "generation_time_s=properties.timeTaken",
            "status=properties.httpStatusCode",
            "host=properties.hostName",
            "referrer=properties.referer",
        ],
        detected_by: &["properties.httpStatusCode", "properties.clientIp"],
        ..KeyTable::NONE
    },
    KeyTable {
        name: "azure_gateway_json",
        map: &[
            "date=time|timeStamp|timestamp",
            "ip=properties.clientIP",
            "method=properties.httpMethod",
            // The others are what the gateway has made of it.
            "path=properties.originalRequestUriWithArgs|properties.requestUri",
            "query_string=properties.requestQuery",
            "user_agent=properties.userAgent",
            "status=properties.httpStatus",
            "length=properties.sentBytes",
            "generation_time_s=properties.timeTaken",
            "host=properties.originalHost|properties.host",
        ],
        conversions: &[
            (Field::QueryString, Conversion::GatewayQuery),
            (Field::GenerationTimeSecs, Conversion::FractionalSeconds),
        ],
        detected_by: &["properties.httpStatus", "properties.clientIP"],
        ..KeyTable::NONE
    },
    // The example in Fastly's documentation.
    KeyTable {
        name: "fastly_json",
        map: &[
            "date=timestamp",
            "ip=client_ip",
            "host=host",
            "path=url",
            "method=request_method",
            "referrer=request_referer",
            "user_agent=request_user_agent",
            "status=response_status",
            "length=response_body_size",
        ],
        detected_by: &["timestamp", "client_ip", "url", "request_method"],
        detected_by_any: &["response_state", "fastly_server", "fastly_is_edge"],
        ..KeyTable::NONE
    },
];
