//! From a document to requests and results: what goes over the wire for a call, and what the model gets back.

mod common;

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use proptest::prelude::*;
use quorate_openapi::{Answer, Api, Config, Credential, Document, Format, Secret, compile, failure, limits};
use serde_json::{Value, json};

use common::call;

const DOCUMENT: &str = include_str!("documents/shop.yaml");

fn api() -> &'static Api {
    static API: LazyLock<Api> = LazyLock::new(compiled);
    &API
}

fn compiled() -> Api {
    let document = Document::read(DOCUMENT, Format::Yaml, &limits::DEFAULTS).expect("is read");
    let credentials = [
        ("key".to_owned(), Credential::Value(Secret::new("k-0"))),
        ("session".to_owned(), Credential::Value(Secret::new("s 0"))),
    ];
    let config = Config { credentials: credentials.into_iter().collect(), ..Config::default() };
    let compiled = compile(&document, &config).expect("is compiled");
    assert_eq!(compiled.problems.iter().map(ToString::to_string).collect::<Vec<_>>(), [""; 0]);
    compiled.api
}

#[test]
fn arguments_go_where_the_document_says() {
    let api = api();
    let cases = [
        (
            "listItems",
            json!({"tag": ["a b", "c"], "filter": {"price": {"min": 1.50}, "ids": [1, 2]}, "X-Trace": "t", "sort": "asc"}),
            "GET https://shop.example.com/v1/items?tag=a%20b&tag=c&filter[price][min]=1.5&filter[ids][]=1&filter[ids][]=2&sort=asc\n\
             x-key: k-0\nx-trace: t\n\n",
        ),
        (
            "getItem",
            json!({"itemId": "a/b c", "fields": ["x", "y"], "debug": true}),
            "GET https://shop.example.com/v1/items/a%2Fb%20c;fields=x,y\ncookie: sid=s%200; debug=true\n\n",
        ),
        (
            "putItem",
            json!({"path_id": 7, "body_id": 8, "name": "n", "tags": []}),
            "PUT https://shop.example.com/v1/stock/7\ncontent-type: application/json\nx-key: k-0\n\n\
             {\"id\":8,\"name\":\"n\",\"tags\":[]}",
        ),
        (
            "login",
            json!({"user": "a&b", "scopes": ["r", "w"], "device": {"os": "x y"}, "raw": {"a": [1]}}),
            "POST https://shop.example.com/v1/login\ncontent-type: application/x-www-form-urlencoded\n\n\
             user=a%26b&scopes=r,w&device[os]=x%20y&raw=%7B%22a%22%3A%5B1%5D%7D",
        ),
        (
            "note",
            json!({"body": "line 1\nline 2"}),
            "POST https://shop.example.com/v1/note\ncontent-type: text/plain\n\nline 1\nline 2",
        ),
        (
            "raw",
            json!({"body": "aGVsbG8="}),
            "POST https://shop.example.com/v1/raw\ncontent-type: application/octet-stream\n\nhello",
        ),
        (
            "bulk",
            json!({"body": [{"id": 1}, 2]}),
            "POST https://shop.example.com/v1/bulk\ncontent-type: application/json\n\n[{\"id\":1},2]",
        ),
        ("bulk", json!({}), "POST https://shop.example.com/v1/bulk\ncontent-length: 0\n\n"),
        ("ping", json!({}), "GET https://status.example.com/ping\n\n\n"),
    ];
    for (tool, arguments, expected) in cases {
        assert_eq!(call(api, tool, &arguments).as_deref(), Ok(expected), "{tool} {arguments}");
    }
}

#[test]
fn numbers_and_unknown_members_of_bodies_keep_their_text() {
    let api = api();
    let tool = api.tool("putItem").expect("is there");
    let arguments = r#"{ "path_id":1, "extra" : {"b":1.0, "a":12345678901234567890123} ,"name":"n"}"#;
    let request = tool.call(arguments).expect("is valid");
    assert_eq!(&request.body()[..], br#"{"name":"n","extra":{"b":1.0, "a":12345678901234567890123}}"#);
}

#[test]
fn files_go_as_parts_of_a_form() {
    let api = api();
    let arguments = json!({"title": "a", "meta": {"k": 1}, "photos": ["data:image/png;name=p.png;base64,AAE=", "aGk="], "document": "aGk="});
    let expected = "POST https://shop.example.com/v1/files\ncontent-type: multipart/form-data; boundary=quorate-form-0000000000000000\n\n\
        --quorate-form-0000000000000000\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\na\r\n\
        --quorate-form-0000000000000000\r\nContent-Disposition: form-data; name=\"meta\"\r\nContent-Type: application/json\r\n\r\n{\"k\":1}\r\n\
        --quorate-form-0000000000000000\r\nContent-Disposition: form-data; name=\"photos\"; filename=\"p.png\"\r\nContent-Type: image/png\r\n\r\n\0\u{1}\r\n\
        --quorate-form-0000000000000000\r\nContent-Disposition: form-data; name=\"photos\"; filename=\"photos\"\r\nContent-Type: application/octet-stream\r\n\r\nhi\r\n\
        --quorate-form-0000000000000000\r\nContent-Disposition: form-data; name=\"document\"; filename=\"document\"\r\nContent-Type: application/pdf\r\n\r\nhi\r\n\
        --quorate-form-0000000000000000--\r\n";
    assert_eq!(call(api, "upload", &arguments).as_deref(), Ok(expected));
}

#[test]
fn wrong_arguments_are_told_all_at_once_with_what_is_allowed() {
    let api = api();
    let cases = [
        (
            "putItem",
            json!({"path_id": "7", "nmae": 1, "tags": "x"}),
            "there is no argument \"nmae\"; allowed: path_id, body_id, name, tags, extra\n\
             path_id: expected integer, found string \"7\"\n\
             name: is required and missing; expected string\n\
             tags: expected array, found string \"x\"",
        ),
        ("listItems", json!({"sort": "up"}), "sort: \"up\" is not a choice; allowed: asc, desc"),
        (
            "getItem",
            json!({}),
            "itemId: is required and missing; expected string\nfields: is required and missing; expected array",
        ),
        ("getItem", json!({"itemId": null, "fields": ["x"]}), "itemId: expected string, found null"),
        (
            "getItem",
            json!({"itemId": "", "fields": ["x"]}),
            "itemId: \"\" cannot be sent: a part of a path must not be empty",
        ),
        (
            "getItem",
            json!({"itemId": "../admin", "fields": ["x"]}),
            "itemId: \"../admin\" cannot be sent: a part of a path must not be . or .. (also between slashes)",
        ),
        (
            "listItems",
            json!({"X-Trace": "a\r\nX-Admin: 1"}),
            "X-Trace: \"a\\r\\nX-Admin: 1\" cannot be sent: it has characters that a header cannot have, such as line ends",
        ),
        (
            "listItems",
            json!({"X-Trace": "x".repeat(9_000)}),
            "a header would have 9000 bytes, the most allowed is 8192",
        ),
        ("upload", json!({"document": "***"}), "document: \"***\" cannot be sent: it is not base64"),
        ("login", json!({"scopes": ["r"]}), "user: is required and missing; expected string"),
        ("ping", json!([1]), "the arguments are not valid: not of the expected JSON type"),
    ];
    for (tool, arguments, expected) in cases {
        assert_eq!(call(api, tool, &arguments).err().as_deref(), Some(expected), "{tool} {arguments}");
    }
    let long = call(api, "listItems", &json!({"tag": ["x".repeat(20_000)]})).expect_err("is too long");
    assert!(long.starts_with("the request's URI would have 20"), "{long}");
    let twice = api.tool("ping").expect("is there").call(r#"{"a":1,"a":2}"#);
    assert!(twice.is_err_and(|refusal| refusal.to_string().contains("ambiguous")));
}

#[test]
fn any_number_of_wrong_arguments_makes_a_refusal_of_bounded_size() {
    let unknown: serde_json::Map<String, Value> =
        (0..20_000).map(|index| (format!("{index:06}{}", "x".repeat(100)), json!(1))).collect();
    let arguments = Value::Object(unknown).to_string();

    let refusal = api().tool("putItem").expect("is there").call(&arguments).expect_err("nothing of it exists");

    assert_eq!(refusal.problems().len(), 10);
    assert!(refusal.to_string().len() < 2_000, "{refusal}");
}

#[test]
fn null_leaves_an_optional_argument_out_unless_it_means_something() {
    let api = api();
    let cases = [
        ("listItems", json!({"sort": null, "tag": null}), "GET https://shop.example.com/v1/items\nx-key: k-0\n\n"),
        (
            "putItem",
            json!({"path_id": 1, "name": "n", "extra": null, "tags": null}),
            "PUT https://shop.example.com/v1/stock/1\ncontent-type: application/json\nx-key: k-0\n\n{\"name\":\"n\",\"extra\":null}",
        ),
    ];
    for (tool, arguments, expected) in cases {
        assert_eq!(call(api, tool, &arguments).as_deref(), Ok(expected), "{tool} {arguments}");
    }
}

/// The result of an answer with these headers.
fn result(tool: &str, status: u16, headers: &[(&str, &str)], body: &[u8]) -> Value {
    let api = api();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::try_from(*name).expect("is a name"), HeaderValue::try_from(*value).expect("is a value"));
    }
    let answer = Answer {
        status: StatusCode::from_u16(status).expect("is a status"),
        headers: &map,
        uri: &Uri::from_static("https://shop.example.com/v1/x?key=secret"),
        body,
    };
    let text = api.tool(tool).expect("is there").result(&answer);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

#[test]
fn json_is_text_and_structured_and_keeps_its_promise() {
    let body = r#"{"id": 1, "name": "n", "more": [1.0]}"#;
    assert_eq!(
        result("getItem", 200, &[JSON], body.as_bytes()),
        json!({"resultType": "complete", "content": [text(body)], "structuredContent": {"id": 1, "name": "n", "more": [1.0]}})
    );
    let broken = r#"{"id":"x","name":null}"#;
    assert_eq!(
        result("getItem", 200, &[JSON], broken.as_bytes()),
        json!({
            "resultType": "complete", "content": [text(broken)], "structuredContent": {"id": null, "name": null},
            "_meta": {"quorate/replaced": ["/id"]},
        })
    );
    let list = r#"[{"id":1}]"#;
    assert_eq!(result("listItems", 200, &[JSON], list.as_bytes())["structuredContent"], json!({"result": [{"id": 1}]}));
    assert_eq!(result("listItems", 200, &[JSON], b"7")["structuredContent"], json!({"result": null}));
    assert_eq!(result("getItem", 200, &[JSON], b"[1]")["structuredContent"]["result"], json!([1]));
    // Without a promise the answer alone decides.
    assert_eq!(result("note", 200, &[JSON], b"{\"a\":1}")["structuredContent"], json!({"a": 1}));
    assert_eq!(result("note", 200, &[JSON], b"\"a\"")["structuredContent"], json!({"result": "a"}));
    assert_eq!(result("note", 200, &[JSON], b"{broken")["structuredContent"], Value::Null);
    assert_eq!(result("getItem", 200, &[JSON], b"{broken")["structuredContent"], json!({}));
    let deep = format!("{}{}", "[".repeat(125), "]".repeat(125));
    assert_eq!(result("note", 200, &[JSON], deep.as_bytes())["structuredContent"], Value::Null);
}

#[test]
fn what_is_no_json_is_content_of_its_type() {
    let cases: [(&str, &[u8], Value); 8] = [
        ("text/csv", b"a,b", text("a,b")),
        ("application/xml", b"<a/>", text("<a/>")),
        ("text/plain; charset=iso-8859-1", b"\xe9", text("é")),
        ("image/png", b"\x89P", json!({"type": "image", "data": "iVA=", "mimeType": "image/png"})),
        ("image/svg+xml", b"<svg/>", text("<svg/>")),
        ("audio/mpeg", b"\xff", json!({"type": "audio", "data": "/w==", "mimeType": "audio/mpeg"})),
        (
            "application/pdf",
            b"%PDF",
            json!({"type": "resource", "resource": {"uri": "https://shop.example.com/v1/x", "mimeType": "application/pdf", "blob": "JVBERg=="}}),
        ),
        ("text/plain", b"", text("HTTP 200 OK")),
    ];
    for (media, body, expected) in cases {
        let found = result("note", 200, &[("content-type", media)], body);
        assert_eq!(found, json!({"resultType": "complete", "content": [expected]}), "{media}");
    }
    assert_eq!(result("note", 204, &[], b"")["content"], json!([text("HTTP 204 No Content")]));
    assert_eq!(
        result("note", 201, &[("location", "/x/1")], b"")["content"],
        json!([text("HTTP 201 Created\nlocation: /x/1")])
    );
    assert_eq!(
        result("headItem", 200, &[("etag", "e"), ("set-cookie", "s")], b"")["content"],
        json!([text("HTTP 200 OK\netag: e")])
    );
    // A promise is kept by saying nothing.
    assert_eq!(result("getItem", 204, &[], b"")["structuredContent"], json!({}));
    assert_eq!(
        result("listItems", 200, &[("content-type", "text/html")], b"<p>")["structuredContent"],
        json!({"result": null})
    );
}

#[test]
fn failures_and_redirects_are_errors_for_the_model_to_read() {
    let error = |text_of: &str| json!({"resultType": "complete", "content": [text(text_of)], "isError": true});
    assert_eq!(
        result("getItem", 404, &[JSON], br#"{"message":"no such item"}"#),
        error("HTTP 404 Not Found\n{\"message\":\"no such item\"}")
    );
    assert_eq!(
        result("getItem", 429, &[("retry-after", "30")], b""),
        error("HTTP 429 Too Many Requests\nretry-after: 30")
    );
    assert_eq!(result("getItem", 500, &[], b"\0\x01"), error("HTTP 500 Internal Server Error"));
    let long = result("getItem", 503, &[], "é".repeat(10_000).as_bytes());
    let shown = long["content"][0]["text"].as_str().expect("is a text");
    assert!(shown.len() < 9_000 && shown.ends_with("é…"), "{}", shown.len());
    assert_eq!(
        result("getItem", 302, &[("location", "https://elsewhere.example.com/")], b""),
        error("HTTP 302 Found\nlocation: https://elsewhere.example.com/\nRedirects are not followed.")
    );
    // A redirect that the document describes is an answer.
    assert_eq!(result("archive", 302, &[("location", "https://x/")], b"")["isError"], Value::Null);
    assert_eq!(serde_json::from_str::<Value>(&failure("a\"b")).expect("is JSON"), error("a\"b"));
}

#[test]
fn the_next_page_is_told_as_arguments_where_it_can_be() {
    let next = |headers: &[(&str, &str)], body: &str| {
        let found = result("listItems", 200, &[&[JSON], headers].concat(), body.as_bytes());
        (found["_meta"]["quorate/next"].clone(), found["content"][1]["text"].clone())
    };
    let link =
        ("link", "<https://x/?page=1>; rel=\"prev\", <https://x/v1/items?page=3&sort=asc&tag=a&other=1>; rel=\"next\"");
    assert_eq!(
        next(&[link], "[]"),
        (
            json!({"arguments": {"page": 3, "sort": "asc"}}),
            json!("There are more results. For the next page, call again with {\"page\":3,\"sort\":\"asc\"}")
        )
    );
    let cases = [
        (r#"{"next_cursor":"abc"}"#, json!({"arguments": {"cursor": "abc"}})),
        (r#"{"meta":{"nextPageToken":"t"}}"#, json!({"arguments": {"cursor": "t"}})),
        (r#"{"pagination":{"next_page":4}}"#, json!({"arguments": {"page": 4}})),
        (r#"{"next":"https://x/?cursor=c%20d"}"#, json!({"arguments": {"cursor": "c d"}})),
        (r#"{"@odata.nextLink":"https://x/?$skip=1"}"#, json!({"value": "https://x/?$skip=1"})),
        (r#"{"next_cursor":""}"#, Value::Null),
        (r#"{"next":null}"#, Value::Null),
        (r#"{"next":{"a":1}}"#, Value::Null),
        (r#"["next_cursor"]"#, Value::Null),
    ];
    for (body, expected) in cases {
        assert_eq!(next(&[], body).0, expected, "{body}");
    }
}

#[test]
fn credentials_are_never_shown() {
    let api = api();
    let request = api.tool("listItems").expect("is there").call("{}").expect("is valid");
    assert!(!format!("{request:?}").contains("k-0"), "{request:?}");
    assert!(!format!("{api:?}").contains("k-0"));
}

proptest! {
    #[test]
    fn no_argument_changes_where_a_request_goes(id: String, tag: String, trace: String, sort in "asc|desc|x", debug: bool) {
        let api = api();
        let calls = [
            ("getItem", json!({"itemId": id, "fields": [tag], "debug": debug})),
            ("listItems", json!({"tag": [tag], "filter": {tag.clone(): id}, "X-Trace": trace, "sort": sort})),
        ];
        for (tool, arguments) in calls {
            let Ok(request) = api.tool(tool).expect("is there").call(&arguments.to_string()) else { continue };
            prop_assert_eq!(request.uri().scheme_str(), Some("https"));
            prop_assert_eq!(request.uri().authority().map(|authority| authority.as_str()), Some("shop.example.com"));
            let path = request.uri().path();
            prop_assert!(path.starts_with("/v1/items"), "{path}");
            prop_assert!(path.split('/').count() <= 4, "{path}");
            let known = ["accept", "x-key", "x-trace", "cookie"];
            prop_assert!(request.headers().keys().all(|name| known.contains(&name.as_str())));
        }
    }

    #[test]
    fn every_answer_becomes_a_result_that_is_json(status in 200_u16..600, media in "[a-z]{1,5}/[a-z+]{1,6}|application/json", body: Vec<u8>) {
        for tool in ["getItem", "listItems", "note", "headItem"] {
            let found = result(tool, status, &[("content-type", &media)], &body);
            prop_assert!(found["content"].as_array().is_some_and(|content| !content.is_empty()));
            let structured = &found["structuredContent"];
            prop_assert!(structured.is_null() || structured.is_object());
        }
    }
}
