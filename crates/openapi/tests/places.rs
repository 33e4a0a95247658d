//! Small documents, one for each question: what an argument cannot do, what no result shows, and how forms are written.

mod common;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use quorate_openapi::{Answer, Api, Config, Credential, Document, Format, Secret, compile, limits};
use serde_json::{Value, json};

use common::call;

/// Compiles a document of these paths, with a scheme `key` for a key in the query, and other keys of `components`.
fn small(paths: Value, config: &Config) -> Api {
    let text = json!({
        "openapi": "3.1.0", "servers": [{"url": "https://h"}], "security": [{"key": []}], "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "apiKey", "in": "query", "name": "api_key"}}},
    });
    let document = Document::read(&text.to_string(), Format::Json, &limits::DEFAULTS).expect("is read");
    compile(&document, config).expect("is compiled").api
}

fn with_key() -> Config {
    let key = ("key".to_owned(), Credential::Value(Secret::new("s3cret-key")));
    Config { credentials: [key].into_iter().collect(), ..Config::default() }
}

#[test]
fn a_key_in_the_query_comes_back_in_no_result() {
    let api = small(json!({"/a": {"get": {"operationId": "get"}, "head": {"operationId": "head"}}}), &with_key());
    let request = api.tool("get").expect("is there").call("{}").expect("is valid");
    assert_eq!(request.uri(), "https://h/a?api_key=s3cret-key");
    assert!(!format!("{api:?}").contains("s3cret"));
    let url = "https://h/a?api_key=s3cret-key&page=2";
    let link = format!("<{url}>; rel=\"next\"");
    let next = json!({ "next": url }).to_string();
    let cases: [(&str, u16, &str, &str, &str); 6] = [
        ("get", 201, "location", url, ""),
        ("get", 302, "location", url, ""),
        ("get", 404, "x-any", "", &next),
        ("get", 200, "link", &link, "[]"),
        ("get", 200, "x-any", "", &next),
        ("head", 200, "link", &link, ""),
    ];
    for (tool, status, name, value, body) in cases {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::try_from(name).expect("is a name"), HeaderValue::try_from(value).expect("is one"));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let status = StatusCode::from_u16(status).expect("is a status");
        let answer = Answer { status, headers: &headers, uri: request.uri(), body: body.as_bytes() };

        let result = api.tool(tool).expect("is there").result(&answer);

        assert!(!result.contains("s3cret"), "{result}");
        assert!(result.contains("page=2"), "{result}");
    }
}

#[test]
fn a_fixed_header_is_no_argument_and_cookies_add_up() {
    let parameter = |name: &str, place: &str| json!({"name": name, "in": place, "schema": {"type": "string"}});
    let parameters = json!([
        parameter("X-Tenant", "header"),
        parameter("X-Own", "header"),
        parameter("account", "cookie"),
        parameter("mood", "cookie"),
    ]);
    let mut headers = HeaderMap::new();
    headers.insert("x-tenant", HeaderValue::from_static("acme"));
    headers.insert("cookie", HeaderValue::from_static("account=1; other=2"));
    let config = Config { headers, ..Config::default() };
    let api = small(json!({"/a": {"get": {"operationId": "get", "parameters": parameters}}}), &config);

    assert_eq!(
        call(&api, "get", &json!({"X-Own": "o", "mood": "x;y"})).as_deref(),
        Ok("GET https://h/a\ncookie: account=1; other=2; mood=x%3By\nx-own: o\nx-tenant: acme\n\n")
    );
    for name in ["X-Tenant", "account"] {
        let refusal = call(&api, "get", &json!({ name: "mine" })).expect_err("is no argument");
        assert_eq!(refusal, format!("there is no argument \"{name}\"; allowed: X-Own, mood"));
    }
}

#[test]
fn members_of_an_argument_stand_for_no_other_parameter() {
    let object = |name: &str, place: &str, rest: Value| {
        let mut parameter =
            json!({"name": name, "in": place, "required": place == "path", "schema": {"type": "object"}});
        parameter.as_object_mut().expect("is an object").extend(rest.as_object().expect("is an object").clone());
        parameter
    };
    let text = |name: &str, place: &str| json!({"name": name, "in": place, "schema": {"type": "string"}});
    let get = json!({"operationId": "get", "parameters": [
        object("params", "query", json!({})), text("account", "query"), text("filter[owner]", "query"),
        object("filter", "query", json!({"style": "deepObject"})),
        object("crumbs", "cookie", json!({})), text("sid", "cookie"),
        object("a", "path", json!({"style": "matrix", "explode": true})), object("b", "path", json!({"style": "matrix"})),
    ]});
    let form = json!({
        "schema": {"type": "object", "properties": {"plan": {"type": "string"}, "more": {"type": "object"}}},
        "encoding": {"more": {"style": "form"}},
    });
    let post = json!({"operationId": "post", "requestBody": {"content": {"application/x-www-form-urlencoded": form}}});
    let api = small(json!({"/x{a}{b}?action=list": {"get": get}, "/y": {"post": post}}), &with_key());

    let fine = json!({"a": {"c": "1"}, "b": {"a": "1"}, "params": {"q": "1", "params": "2"}, "filter": {"name": "n"}, "crumbs": {"c": "1"}});
    assert_eq!(
        call(&api, "get", &fine).as_deref(),
        Ok("GET https://h/x;c=1;b=a,1?action=list&api_key=s3cret-key&q=1&params=2&filter[name]=n\ncookie: c=1\n\n")
    );
    let wrong = [
        ("get", json!({"params": {"api_key": "mine"}})),
        ("get", json!({"params": {"Account": "2"}})),
        ("get", json!({"params": {"action": "delete"}})),
        ("get", json!({"filter": {"owner": "2"}})),
        ("get", json!({"crumbs": {"sid": "2"}})),
        ("get", json!({"a": {"b": "2"}})),
        ("post", json!({"more": {"plan": "gold"}})),
    ];
    for (tool, arguments) in wrong {
        let mut all = if tool == "get" { json!({"a": {"c": "1"}, "b": {"d": "1"}}) } else { json!({}) };
        all.as_object_mut().expect("is an object").extend(arguments.as_object().expect("is an object").clone());
        let refusal = call(&api, tool, &all).expect_err("names another parameter");
        assert!(refusal.ends_with("cannot be sent: it has a member with the name of another parameter"), "{refusal}");
    }
}

#[test]
fn no_part_of_a_path_means_another_path_however_it_is_put_together() {
    let parameter =
        |name: &str, style: &str, schema: Value| json!({"name": name, "in": "path", "style": style, "schema": schema});
    let get = |parameters: Value| json!({"get": {"parameters": parameters}});
    let api = small(
        json!({
            "/o/{file}": get(json!([parameter("file", "simple", json!({"type": "object"}))])),
            "/l/{file}": get(json!([parameter("file", "label", json!({"type": "string"}))])),
            "/p/.{file}/x": get(json!([parameter("file", "simple", json!({"type": "string"}))])),
        }),
        &Config::default(),
    );
    let cases = [
        ("get_o_file", json!({"x/../../admin/": "y"})),
        ("get_o_file", json!({"x": "/../y"})),
        ("get_l_file", json!(".")),
        ("get_l_file", json!("/../x")),
        ("get_p_._file_x", json!(".")),
        ("get_p_._file_x", json!("./..")),
        ("get_p_._file_x", json!(".\\x")),
    ];
    for (tool, value) in cases {
        let refusal = call(&api, tool, &json!({ "file": value })).expect_err("means another path");
        assert!(refusal.contains("a part of a path must not be . or .."), "{refusal}");
    }
    assert_eq!(
        call(&api, "get_o_file", &json!({"file": {"a/b": "..c"}})).as_deref(),
        Ok("GET https://h/o/a%2Fb,..c\n\n\n")
    );
}

#[test]
fn a_form_that_is_one_argument_is_written_as_one_that_is_opened() {
    let file = json!({"type": "string", "format": "binary"});
    let post = |id: &str, media: &str, content: Value| json!({"post": {"operationId": id, "requestBody": {"content": { media: content }}}});
    let free = json!({
        "schema": {
            "type": "object", "additionalProperties": true, "allOf": [{"oneOf": [{"properties": {"doc": file}}]}],
            "properties": {"photos": {"type": "array", "items": file}},
        },
        "encoding": {"photos": {"contentType": "image/png"}},
    });
    let files = json!({"schema": {"type": "object", "additionalProperties": file}});
    let pairs = json!({
        "schema": {"type": "object", "additionalProperties": true, "properties": {"deep": {"type": "object"}, "list": {"type": "array"}}},
        "encoding": {"deep": {"style": "deepObject"}, "list": {"style": "form", "explode": false}},
    });
    let form = "multipart/form-data";
    let api = small(
        json!({
            "/a": post("free", form, free), "/b": post("files", form, files), "/c": post("pairs", "application/x-www-form-urlencoded", pairs),
        }),
        &Config::default(),
    );
    let body = |tool: &str, value: Value| {
        let sent = call(&api, tool, &json!({ "body": value })).expect("is valid");
        sent.split_once("\n\n").map(|(_, body)| body.to_owned()).expect("has a body")
    };

    let sent = body("free", json!({"doc": "aGk=", "photos": ["AAE="], "note": "aGk=", "more": {"a": 1}}));
    for part in [
        "name=\"doc\"; filename=\"doc\"\r\nContent-Type: application/octet-stream\r\n\r\nhi\r\n",
        "name=\"photos\"; filename=\"photos\"\r\nContent-Type: image/png\r\n\r\n\0\u{1}\r\n",
        "name=\"note\"\r\n\r\naGk=\r\n",
        "name=\"more\"\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n",
    ] {
        assert!(sent.contains(part), "{sent}");
    }
    assert!(body("files", json!({"any": "aGk="})).contains("name=\"any\"; filename=\"any\""));
    let value = json!({"meta": {"a": 1}, "deep": {"b": {"c": 1}}, "list": [1, 2], "t": "x y"});
    assert_eq!(body("pairs", value), "meta=%7B%22a%22%3A1%7D&deep[b][c]=1&list=1,2&t=x%20y");
}

#[test]
fn an_object_in_a_form_is_json_whatever_its_schema_says() {
    let content = json!({"application/x-www-form-urlencoded": {"schema": {"properties": {"any": {}, "mode": {"type": "string"}}}}});
    let api = small(
        json!({"/a": {"post": {"operationId": "post", "requestBody": {"content": content}}}}),
        &Config::default(),
    );
    let sent = call(&api, "post", &json!({"any": {"mode": "x"}, "mode": "y"})).expect("is valid");
    assert!(sent.ends_with("\n\nany=%7B%22mode%22%3A%22x%22%7D&mode=y"), "{sent}");
}

#[test]
fn a_list_of_files_is_known_through_references() {
    let text = json!({
        "openapi": "3.1.0", "servers": [{"url": "https://h"}],
        "components": {"schemas": {
            "File": {"type": "string", "contentMediaType": "image/png"},
            "Files": {"type": "array", "description": "Some files.", "items": {"$ref": "#/components/schemas/File"}},
        }},
        "paths": {"/a": {"post": {"operationId": "post", "requestBody": {"content": {"multipart/form-data": {"schema": {
            "type": "object",
            "properties": {"one": {"$ref": "#/components/schemas/Files"}, "two": {"$ref": "#/components/schemas/Files", "deprecated": true}},
        }}}}}}},
    });
    let document = Document::read(&text.to_string(), Format::Json, &limits::DEFAULTS).expect("is read");
    let api = compile(&document, &Config::default()).expect("is compiled").api;

    let definition: Value = serde_json::from_str(api.tools()[0].definition()).expect("is JSON");
    for name in ["one", "two"] {
        assert_eq!(definition["inputSchema"]["properties"][name]["type"], "array", "{definition}");
    }
    let sent = call(&api, "post", &json!({"one": ["AAE="], "two": ["AAE=", "AAE="]})).expect("is valid");
    assert_eq!(sent.matches("\r\n\r\n\0\u{1}\r\n").count(), 3, "{sent}");
}
