//! Providers as other gateways name them, and the `Provider` documents of them.
//!
//! In: the word for a provider, and what is said of its address. Out: the preset, the address that a resource has for it, and the variable
//! that its key is in by custom. Addresses are of many forms: with the version or without, with the path of one API behind.

use quorate_llm::preset::Preset;
use serde_json::{Map, Value, json};
use url::Url;

use super::Import;

/// Domains of Azure's models in all its clouds. Others of Azure's are of what its customers run themselves.
const AZURE: [&str; 7] = [
    ".openai.azure.com",
    ".cognitiveservices.azure.com",
    ".services.ai.azure.com",
    ".openai.azure.us",
    ".cognitiveservices.azure.us",
    ".openai.azure.cn",
    ".cognitiveservices.azure.cn",
];

/// A provider as another gateway names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) preset: Preset,
    /// Its address, where the preset has none.
    pub(super) url: Option<&'static str>,
    /// The variable that its key is in when nothing is said.
    pub(super) variable: Option<&'static str>,
}

/// The spec of a `Provider`, as far as it is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) url: Option<String>,
    pub(super) api_version: Option<String>,
    pub(super) key: Option<String>,
    pub(super) headers: Map<String, Value>,
    pub(super) tls: Map<String, Value>,
    pub(super) limits: Map<String, Value>,
}

/// A provider whose address the preset has.
const fn hosted(preset: Preset, variable: &'static str) -> Option<Known> {
    Some(Known { preset, url: None, variable: Some(variable) })
}

/// A provider that speaks as OpenAI does, at an address.
const fn like(url: &'static str, variable: &'static str) -> Option<Known> {
    Some(Known { preset: Preset::Compatible, url: Some(url), variable: Some(variable) })
}

/// A server that somebody runs.
const fn own(preset: Preset) -> Option<Known> {
    Some(Known { preset, url: None, variable: None })
}

/// The provider of a word, in the words of LiteLLM or agentgateway.
pub(super) fn known(word: &str) -> Option<Known> {
    match word {
        "openai" | "openAI" => hosted(Preset::OpenAi, "OPENAI_API_KEY"),
        "azure" | "azureOpenAI" => hosted(Preset::AzureOpenAi, "AZURE_API_KEY"),
        "anthropic" => hosted(Preset::Anthropic, "ANTHROPIC_API_KEY"),
        "gemini" => hosted(Preset::Gemini, "GEMINI_API_KEY"),
        "vertex_ai" | "vertex" => own(Preset::Vertex),
        "groq" => hosted(Preset::Groq, "GROQ_API_KEY"),
        "mistral" => hosted(Preset::Mistral, "MISTRAL_API_KEY"),
        "deepseek" => hosted(Preset::DeepSeek, "DEEPSEEK_API_KEY"),
        "xai" => hosted(Preset::Xai, "XAI_API_KEY"),
        "together_ai" | "togetherai" => hosted(Preset::Together, "TOGETHERAI_API_KEY"),
        "fireworks_ai" | "fireworks" => hosted(Preset::Fireworks, "FIREWORKS_API_KEY"),
        "openrouter" => hosted(Preset::OpenRouter, "OPENROUTER_API_KEY"),
        "ollama" | "ollama_chat" => {
            Some(Known { preset: Preset::Ollama, url: Some("http://localhost:11434"), variable: None })
        }
        "hosted_vllm" | "vllm" => own(Preset::Vllm),
        "llamafile" | "lm_studio" | "openai_like" | "custom_openai" | "litellm_proxy" | "custom" => {
            own(Preset::Compatible)
        }
        "perplexity" => like("https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
        "cerebras" => like("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
        "nvidia_nim" => like("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
        "deepinfra" => like("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
        "sambanova" => like("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
        "moonshot" => like("https://api.moonshot.ai/v1", "MOONSHOT_API_KEY"),
        "baseten" => like("https://inference.baseten.co/v1", "BASETEN_API_KEY"),
        "huggingface" => like("https://router.huggingface.co/v1", "HF_TOKEN"),
        _ => None,
    }
}

/// What is said of a provider that there is none for.
pub(super) fn missing(word: &str) -> String {
    match word {
        "bedrock" | "bedrock_converse" | "sagemaker" | "sagemaker_chat" => {
            format!("{word} is not supported: its requests are signed in a way of its own")
        }
        _ => format!("no provider is known as {word:?}: if it speaks as OpenAI does, say `openai/` and its address"),
    }
}

/// What is said of an address of somebody else, where nobody named a key for it.
pub(super) fn unshown(word: &str, variable: &str) -> String {
    format!(
        "it is not at {word}, which {variable} is for, so that it is shown no key: if it wants one, write `keys` of the Provider"
    )
}

/// The address that a resource has for what is said of one: without the path of an API, and with a version where the preset's has one.
pub(super) fn address(preset: Preset, text: &str) -> String {
    let text = text.trim().trim_end_matches('/');
    let apis = ["/chat/completions", "/completions", "/embeddings", "/responses", "/messages"];
    let text = apis.iter().find_map(|api| text.strip_suffix(api)).unwrap_or(text);
    match preset {
        Preset::Anthropic => text.strip_suffix("/v1").unwrap_or(text).to_owned(),
        Preset::Gemini => text.strip_suffix("/v1beta").unwrap_or(text).to_owned(),
        Preset::Ollama if !text.ends_with("/v1") => format!("{text}/v1"),
        Preset::AzureOpenAi => {
            let resource = text.find("/openai").and_then(|end| text.get(..end)).unwrap_or(text);
            format!("{resource}/openai")
        }
        _ => text.to_owned(),
    }
}

/// The address of models at a place of Vertex.
pub(super) fn vertex(project: &str, location: &str) -> String {
    let host = if location == "global" { String::new() } else { format!("{location}-") };
    format!("https://{host}aiplatform.googleapis.com/v1/projects/{project}/locations/{location}")
}

/// Sets the address and version of an Azure resource: the path without a deployment is for those that ask for none.
pub(super) fn azure(given: &mut Given, address: &str, version: Option<String>) {
    let url = self::address(Preset::AzureOpenAi, address);
    match version.filter(|version| !matches!(version.as_str(), "preview" | "latest" | "v1")) {
        Some(version) => (given.url, given.api_version) = (Some(url), Some(version)),
        None => given.url = Some(format!("{url}/v1")),
    }
}

// === impl Known ===

impl Known {
    /// Whether an address is the provider's own, and not that of somebody else who speaks as it does: only there its key is shown that
    /// nobody named. Hosts are compared as connections are made to them, and keys do not leave in clear.
    pub(super) fn is_at(&self, address: &str) -> bool {
        let host = |text: &str| {
            let url = Url::parse(text).ok().filter(|url| url.scheme() == "https");
            url.and_then(|url| url.host_str().map(str::to_owned))
        };
        let Some(given) = host(address) else { return false };
        match self.preset {
            Preset::AzureOpenAi => AZURE.iter().any(|domain| given.ends_with(domain)),
            _ => self.url.or(self.preset.known().url).and_then(host) == Some(given),
        }
    }
}

// === impl Given ===

impl Given {
    /// Makes the document, or finds one that says the same, and returns its name.
    pub(super) fn document(self, preset: Preset, wanted: &str, from: &str, import: &mut Import<'_>) -> String {
        let mut spec = json!({ "preset": preset.known().name });
        let mut set = |key: &str, value: Value| spec[key] = value;
        if let Some(url) = self.url {
            set("url", url.into());
        }
        if let Some(version) = self.api_version {
            set("apiVersion", version.into());
        }
        if let Some(key) = self.key {
            set("keys", json!([key]));
        }
        for (key, members) in [("headers", self.headers), ("tls", self.tls), ("limits", self.limits)] {
            if !members.is_empty() {
                set(key, Value::Object(members));
            }
        }
        import.documents.share("Provider", wanted, spec, from)
    }
}

// === impl Import ===

impl Import<'_> {
    /// An address of the source. One that is in a variable is looked up: resources have no variables in addresses.
    pub(super) fn address(&mut self, text: String, at: &str) -> String {
        let Some(name) = self.secrets.variable(&text) else { return text };
        if let Some(value) = (self.environment)(name) {
            self.notes.say(
                at,
                format!("the address is what {name} was when this was made: an address is written, no variable"),
            );
            return value;
        }
        self.notes.say(
            at,
            format!("the address is in {name}, which is not set here: set it and import again, or write the address"),
        );
        let plain = |each: char| if each.is_ascii_alphanumeric() { each.to_ascii_lowercase() } else { '-' };
        let host: String = name.chars().map(plain).collect();
        format!("https://{}.invalid", host.trim_matches('-'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_resources() {
        let cases = [
            (Preset::Compatible, "http://gpu:8000/v1/", "http://gpu:8000/v1"),
            (Preset::Compatible, "http://gpu:8000/v1/chat/completions", "http://gpu:8000/v1"),
            (Preset::Anthropic, "https://claude.example/v1/messages", "https://claude.example"),
            (Preset::Anthropic, "https://claude.example", "https://claude.example"),
            (Preset::Gemini, "https://g.example/v1beta/", "https://g.example"),
            (Preset::Ollama, "http://localhost:11434", "http://localhost:11434/v1"),
            (Preset::Ollama, "http://localhost:11434/v1", "http://localhost:11434/v1"),
            (Preset::AzureOpenAi, "https://r.openai.azure.com/", "https://r.openai.azure.com/openai"),
            (Preset::AzureOpenAi, "https://r.example/openai/deployments/x", "https://r.example/openai"),
        ];
        for (preset, text, expected) in cases {
            assert_eq!(address(preset, text), expected, "{text}");
        }
        assert!(vertex("p", "global").starts_with("https://aiplatform.googleapis.com/v1/projects/p/"));
    }

    #[test]
    fn an_address_is_a_providers_own_by_its_host() {
        let cases = [
            ("openai", "https://api.openai.com/v1", true),
            ("openai", "https://API.OpenAI.com", true),
            ("openai", "https://api.openai.com.evil.example/v1", false),
            ("openai", "https://api.openai.com@evil.example/v1", false),
            ("openai", "https://evil.example/?x=://api.openai.com", false),
            ("openai", "http://api.openai.com/v1", false),
            ("openai", "api.openai.com/v1", false),
            ("anthropic", "https://api.anthropic.com/v1/messages", true),
            ("anthropic", "https://claude.example", false),
            ("groq", "https://api.openai.com/v1", false),
            ("perplexity", "https://api.perplexity.ai/", true),
            ("perplexity", "https://proxy.example", false),
            ("azure", "https://team.openai.azure.com/", true),
            ("azure", "https://azure.com.evil.example/", false),
            ("azure", "https://evil.eastus.cloudapp.azure.com/", false),
        ];
        for (word, address, expected) in cases {
            assert_eq!(known(word).unwrap().is_at(address), expected, "{word} {address}");
        }
    }

    #[test]
    fn azure_has_its_version_in_the_path_or_none() {
        for (version, url, asked) in [
            (Some("2025-01-01"), "https://r.example/openai", Some("2025-01-01")),
            (Some("preview"), "https://r.example/openai/v1", None),
            (None, "https://r.example/openai/v1", None),
        ] {
            let mut given = Given::default();
            azure(&mut given, "https://r.example/", version.map(str::to_owned));
            assert_eq!((given.url.as_deref(), given.api_version.as_deref()), (Some(url), asked));
        }
    }
}
