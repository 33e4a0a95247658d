//! What is said beside text: images, recordings, documents.
//!
//! In: the value of a request's conversation. Out: which of them are in it. Parts are known by their type, and where a server takes them
//! without one (vLLM) by their member; those of Gemini by the media type of their data. Prompts are large and media rare: one pass looks
//! whether any word of them is there as a whole text, and only then parts are looked through. Talking of images is no image.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memmem};
use quorate_jsonrpc::{MembersError, elements, eq_folded, members, pick, text};

use super::Has;
use crate::dialect::generate::media_type_of;

/// How deep parts are looked for: parts of results of tools are the deepest.
const DEPTH_MAX: usize = 12;

/// Types of parts, and the members that have their data: of the APIs, and of servers that speak them (vLLM, SGLang, OpenRouter,
/// Mistral).
const WORDS: [(&str, Medium); 21] = [
    ("image_url", Medium::Image),
    ("input_image", Medium::Image),
    ("image", Medium::Image),
    ("image_embeds", Medium::Image),
    ("image_pil", Medium::Image),
    ("computer_screenshot", Medium::Image),
    ("input_audio", Medium::Audio),
    ("audio_url", Medium::Audio),
    ("audio_embeds", Medium::Audio),
    ("audio", Medium::Audio),
    ("file", Medium::Document),
    ("input_file", Medium::Document),
    ("file_url", Medium::Document),
    ("document", Medium::Document),
    ("document_url", Medium::Document),
    ("input_document", Medium::Document),
    ("container_upload", Medium::Document),
    ("video_url", Medium::Document),
    ("video_embeds", Medium::Document),
    ("input_video", Medium::Document),
    ("video", Medium::Document),
];

/// Members that have data of Gemini's parts; the last one has that of OpenAI's files, as a `data:` URL.
const DATA: [&str; 4] = ["inlineData", "inline_data", "fileData", "file_data"];

/// Members that have parts.
const NESTED: [&str; 5] = ["content", "parts", "output", "functionResponse", "function_response"];

/// Letters of the longest word, and bytes of it if each is an escape.
const LETTERS_MAX: usize = 19;
const ESCAPED_MAX: usize = 6 * LETTERS_MAX;

/// What a part is that is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Medium {
    Image,
    Audio,
    Document,
}

/// Notes what is in a conversation; none where it cannot be said what is there.
pub(super) fn look(said: &str, has: &mut Has) -> Option<()> {
    if may_have_media(said.as_bytes()) { look_within(said, 0, has) } else { Some(()) }
}

/// Whether a text of JSON is one of the words, or may be by its escapes.
fn may_have_media(said: &[u8]) -> bool {
    let mut rest = said;
    while let Some(open) = memchr(b'"', rest) {
        rest = &rest[open + 1..];
        let (mut end, mut has_escapes) = (0, false);
        while let Some(at) = memchr2(b'"', b'\\', &rest[end.min(rest.len())..]) {
            end += at;
            if rest[end] == b'"' {
                break;
            }
            has_escapes = true;
            end += 2;
        }
        let token = &rest[..end.min(rest.len())];
        if if has_escapes { may_spell_a_word(token) } else { is_word(token) } {
            return true;
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    false
}

fn may_spell_a_word(token: &[u8]) -> bool {
    token.len() <= ESCAPED_MAX && memmem::find(token, b"\\u").is_some()
}

fn is_word(token: &[u8]) -> bool {
    // Two letters beyond ASCII fold into one that is (U+212A has three bytes).
    if token.len() < 4 || token.len() > 3 * LETTERS_MAX || (token.len() > LETTERS_MAX && token.is_ascii()) {
        return false;
    }
    let Ok(token) = std::str::from_utf8(token) else { return false };
    WORDS.iter().map(|(word, _)| *word).chain(DATA).any(|word| eq_folded(word, token))
}

/// Looks for parts that are no text.
fn look_within(raw: &str, depth: usize, has: &mut Has) -> Option<()> {
    if depth > DEPTH_MAX {
        return None;
    }
    match raw.as_bytes().first() {
        Some(b'[') => {
            let mut all = Some(());
            elements(raw, 0, |span| all = all.and_then(|()| look_within(span.of(raw), depth + 1, has))).ok()?;
            all
        }
        Some(b'{') => look_at_part(raw, depth, has),
        _ => Some(()),
    }
}

fn look_at_part(raw: &str, depth: usize, has: &mut Has) -> Option<()> {
    let (mut nested, mut is_odd) = (Vec::new(), false);
    members(raw, 0, |key, span| {
        let value = span.of(raw);
        if key == "type" {
            has.note(text(value).unwrap_or_default().as_ref());
        } else if NESTED.contains(&key) {
            nested.push(value);
        } else if key == "source" {
            // What kind of source it is is no kind of part.
            let picked = pick(value, 0, ["content", "media_type", "url"]);
            is_odd |= matches!(picked, Err(MembersError::Duplicate { .. }));
            let [content, media_type, url] = picked.unwrap_or_default();
            nested.extend(content.map(|span| span.of(value)));
            if let Some(media_type) = media_type.and_then(|span| text(span.of(value))) {
                has.note_media_type(&media_type);
            }
            url.into_iter().for_each(|span| has.note_link(span.of(value)));
        } else if DATA.contains(&key) {
            has.note_data(value);
        } else if value != "null" && WORDS.iter().any(|(word, _)| *word == key) {
            has.note(key);
            if key == "file" {
                nested.push(value);
            } else if key.ends_with("_url") {
                has.note_link(value);
            }
        } else {
            let mut names = WORDS.iter().map(|(word, _)| *word).chain(DATA).chain(NESTED).chain(["type", "source"]);
            // Who reads names in any case would take it for the one that is looked at.
            is_odd |= value != "null" && names.any(|name| name != key && eq_folded(name, key));
        }
    })
    .ok()?;
    if is_odd {
        return None;
    }
    nested.into_iter().try_for_each(|value| look_within(value, depth + 1, has))
}

// === impl Has ===

impl Has {
    /// Notes a part of a type.
    fn note(&mut self, kind: &str) {
        let medium = WORDS.iter().find(|(name, _)| *name == kind);
        match medium.map(|(_, medium)| medium) {
            Some(Medium::Image) => self.images = true,
            Some(Medium::Audio) => self.audio = true,
            Some(Medium::Document) => self.documents = true,
            None => {}
        }
    }

    /// Notes data that says its media type.
    fn note_data(&mut self, raw: &str) {
        if raw == "null" {
            return;
        }
        if let Some(url) = text(raw) {
            return self.note_media_type(of_data_url(&url).unwrap_or_default());
        }
        let Ok(picked) = pick(raw, 0, ["mimeType", "mime_type"]) else { return self.note_any() };
        let mut media_types = picked.into_iter().flatten().filter(|span| span.of(raw) != "null");
        let media_type = media_types.next().and_then(|span| text(span.of(raw)));
        self.note_media_type(&media_type.unwrap_or_default());
    }

    /// Notes what does not say what it is.
    const fn note_any(&mut self) {
        (self.images, self.audio, self.documents) = (true, true, true);
    }

    /// Notes what is at a URL, as far as it tells: whatever part it is in, a provider may be told the media type by it.
    fn note_link(&mut self, raw: &str) {
        let within = |raw: &str| pick(raw, 0, ["url"]).ok().and_then(|[url]| Some(text(url?.of(raw))?.into_owned()));
        let Some(url) = text(raw).or_else(|| within(raw).map(Cow::Owned)) else { return };
        if let Some(media_type) = of_data_url(&url).or_else(|| media_type_of(&url)) {
            self.note_media_type(media_type);
        }
    }

    fn note_media_type(&mut self, media_type: &str) {
        let kind = media_type.split(['/', ';', ',']).next().unwrap_or_default();
        if kind.is_empty() {
            self.note_any();
        } else if kind.eq_ignore_ascii_case("image") {
            self.images = true;
        } else if kind.eq_ignore_ascii_case("audio") {
            self.audio = true;
        } else {
            self.documents = true;
        }
    }
}

/// What follows the scheme of a `data:` URL, which begins with the media type.
fn of_data_url(url: &str) -> Option<&str> {
    url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).map(|_| &url[5..])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Has = Has { tools: false, images: false, audio: false, documents: false };
    const IMAGES: Has = Has { images: true, ..NONE };
    const AUDIO: Has = Has { audio: true, ..NONE };
    const DOCUMENTS: Has = Has { documents: true, ..NONE };
    const ANY: Has = Has { images: true, audio: true, documents: true, ..NONE };

    fn found(said: &str) -> Option<Has> {
        let mut has = NONE;
        look(said, &mut has).map(|()| has)
    }

    #[test]
    fn media_are_found_wherever_they_are_and_however_they_are_written() {
        let cases = [
            (r#""image_url""#, NONE),
            (r#"[{"role":"user","content":"see \"image_url\""}]"#, NONE),
            (r#"[{"role":"user","content":[{"type":"text","text":"image_url"}]}]"#, NONE),
            (r#"[{"role":"assistant","content":"hi","audio":null}]"#, NONE),
            (r#"[{"type":"tool_use","input":{"type":"image","file":"a"}}]"#, NONE),
            (r#"[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]"#, IMAGES),
            (r#"[{"role":"user","content":[{"type":"im\u0061ge_url"}]}]"#, IMAGES),
            (r#"[{"role":"user","content":[{"ty\u0070e":"image"}]}]"#, IMAGES),
            (r#"[{"role":"user","content":[{"type":"tool_result","content":[{"type":"image"}]}]}]"#, IMAGES),
            (r#"[{"role":"user","content":[{"image_url":"x"}]}]"#, IMAGES),
            (r#"[{"role":"user","content":[{"type":"text","uuid":"x","image_url":"x"}]}]"#, IMAGES),
            (r#"[{"type":"image","source":{"type":"file","file_id":"f"}}]"#, IMAGES),
            (
                r#"[{"type":"document","source":{"type":"content","content":[{"type":"image"}]}}]"#,
                Has { documents: true, ..IMAGES },
            ),
            (r#"[{"parts":[{"inlineData":{"mimeType":"audio/wav","data":""}}]}]"#, AUDIO),
            (r#"[{"parts":[{"file_data":{"mime_type":"application/pdf"}}]}]"#, DOCUMENTS),
            (r#"[{"parts":[{"functionResponse":{"parts":[{"inlineData":{"mimeType":"image/png"}}]}}]}]"#, IMAGES),
            (r#"[{"parts":[{"inlineData":{"mimeType":"Image/PNG"}}]}]"#, IMAGES),
            (r#"[{"type":"input_file","file_data":"data:application/pdf;base64,aGk="}]"#, DOCUMENTS),
            (r#"[{"type":"input_file","file_id":"f","file_data":null}]"#, DOCUMENTS),
            (r#"[{"type":"input_file","file_data":" data:image/png;base64,aGk="}]"#, ANY),
            (r#"[{"type":"input_file","file_data":"aGk="}]"#, ANY),
            (r#"[{"type":"input_file","file_url":"https://x/a.png?b"}]"#, Has { documents: true, ..IMAGES }),
            (r#"[{"type":"input_file","file_url":"https://x/a.pdf"}]"#, DOCUMENTS),
            (
                r#"[{"content":[{"type":"file","file":{"file_data":"data:audio/wav;base64,aGk="}}]}]"#,
                Has { documents: true, ..AUDIO },
            ),
            (r#"[{"content":[{"type":"file","file":{"file_data":"data:application/pdf;base64,aGk="}}]}]"#, DOCUMENTS),
            (
                r#"[{"content":[{"type":"image_url","image_url":{"url":"https://x/a.PDF"}}]}]"#,
                Has { documents: true, ..IMAGES },
            ),
            (
                r#"[{"content":[{"type":"image_url","image_url":"data:audio/wav;base64,"}]}]"#,
                Has { audio: true, ..IMAGES },
            ),
            (
                r#"[{"type":"document","source":{"type":"base64","media_type":"image/png","data":""}}]"#,
                Has { documents: true, ..IMAGES },
            ),
            (r#"[{"type":"image","source":{"type":"url","url":"https://x/a.jpeg"}}]"#, IMAGES),
            (r#"[{"parts":[{"fileData":{"fileUri":"https://x/files/a"}}]}]"#, ANY),
            (r#"[{"type":"input_file","file_data":"data:;base64,aGk="}]"#, ANY),
            (r#"[{"parts":[{"fileData":{"mimeType":null,"mime_type":"image/png"}}]}]"#, IMAGES),
            (r#"[{"type":"input_file","file_data":"DATA:image/png;base64,aGk="}]"#, Has { documents: true, ..IMAGES }),
            (r#"[{"content":[{"type":"input_audio"},{"type":"file"}]}]"#, Has { audio: true, ..DOCUMENTS }),
            (r#"[{"content":[{"type":"audio_url"},{"type" : "video_url"}]}]"#, Has { audio: true, ..DOCUMENTS }),
        ];
        for (said, has) in cases {
            assert_eq!(found(said), Some(has), "{said}");
        }
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_not_looked_through() {
        for said in [
            r#"[{"role":"user","Content":[{"type":"image_url"}]}]"#,
            r#"[{"content":[{"Type":"image_url"}]}]"#,
            r#"[{"content":[{"Image_URL":"x"}]}]"#,
            r#"[{"type":"document","source":{"content":[{"type":"image"}],"content":[]}}]"#,
            r#"[{"type":"document","source":{"content":[{"type":"image"}],"url":null,"URL":null}}]"#,
            "[{\"content\":[{\"type\":\"image\",\"\u{17f}ource\":1}]}]",
            r#"[{"x":1,"x":2,"content":[{"type":"image_url"}]}]"#,
        ] {
            assert_eq!(found(said), None, "{said}");
        }
    }

    #[test]
    fn texts_of_any_form_are_passed_over() {
        for said in ["", "\"", "\"\\", "\"a\\\"", "[\"\\\\\"]", "\"\\u0041\"", "[\"image\"]", "\"\u{212a}\""] {
            found(said);
        }
        assert!(!may_have_media(r#"["a\\","b\"image\"c"]"#.as_bytes()));
        assert!(may_have_media(r#"["a\\","image"]"#.as_bytes()));
    }
}
