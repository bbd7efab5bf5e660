//! The agents that the tests can run, and how each is made to talk to the
//! scripted model. Pure data; versions are those that were seen to work.

/// One agent.
#[derive(Debug, Clone, Copy)]
pub struct Agent {
    /// The name that its built-in rule gives its sessions.
    pub name: &'static str,
    /// The package on npm.
    pub package: &'static str,
    /// The version that the tests install, unless they take the latest.
    pub version: &'static str,
    /// Its executable under `node_modules/.bin`.
    pub program: &'static str,
    /// Its arguments: one prompt, with no questions asked.
    pub arguments: &'static [&'static str],
    /// Its environment, besides common variables such as `PATH`.
    pub environment: &'static [(&'static str, &'static str)],
    /// Files under its `HOME`: path and content.
    pub files: &'static [(&'static str, &'static str)],
    /// How the script deletes a folder.
    pub remove: &'static str,
}

/// Every agent that can be run, the one of the CI first.
///
/// Not here: Crush (its npm package downloads from GitHub), Amp and Auggie
/// (they talk to their maker's service only), Aider (it takes no tool calls,
/// and runs no command that the model asks for without a person).
pub const AGENTS: &[Agent] = &[
    Agent {
        name: "claude-code",
        package: "@anthropic-ai/claude-code",
        version: "2.1.197",
        program: "claude",
        arguments: &["-p", PROMPT, "--allowedTools", "Bash,Read,Write,Edit"],
        environment: &[
            ("ANTHROPIC_BASE_URL", "http://127.0.0.1:8462"),
            ("ANTHROPIC_API_KEY", "scripted"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("DISABLE_TELEMETRY", "1"),
            ("IS_SANDBOX", "1"),
        ],
        files: &[],
        remove: "rm -rf",
    },
    Agent {
        name: "codex",
        package: "@openai/codex",
        version: "0.169.0",
        program: "codex",
        arguments: &[
            "exec",
            "--skip-git-repo-check",
            "--dangerously-bypass-approvals-and-sandbox",
            PROMPT,
        ],
        environment: &[("SCRIPTED_KEY", "scripted")],
        files: &[(".codex/config.toml", CODEX)],
        // It refuses `rm -f` by itself.
        remove: "rm -r",
    },
    Agent {
        name: "opencode",
        package: "opencode-ai",
        version: "1.18.33",
        program: "opencode",
        arguments: &["run", PROMPT],
        environment: &[
            ("OPENCODE_DISABLE_AUTOUPDATE", "1"),
            ("OPENCODE_DISABLE_MODELS_FETCH", "1"),
        ],
        files: &[(".config/opencode/opencode.json", OPENCODE)],
        remove: "rm -rf",
    },
    Agent {
        name: "qwen-code",
        package: "@qwen-code/qwen-code",
        version: "0.15.10",
        program: "qwen",
        arguments: &["--auth-type", "openai", "--yolo", "-p", PROMPT],
        environment: &[
            ("OPENAI_API_KEY", "scripted"),
            ("OPENAI_BASE_URL", "http://127.0.0.1:8462/v1"),
            ("OPENAI_MODEL", "scripted"),
            ("QWEN_TELEMETRY_ENABLED", "false"),
        ],
        files: &[],
        remove: "rm -rf",
    },
    Agent {
        name: "gemini-cli",
        package: "@google/gemini-cli",
        version: "0.61.0",
        program: "gemini",
        arguments: &[
            "--yolo",
            "--skip-trust",
            "-m",
            "gemini-2.5-pro",
            "-p",
            PROMPT,
        ],
        environment: &[
            ("GEMINI_API_KEY", "scripted"),
            ("GOOGLE_GEMINI_BASE_URL", "http://127.0.0.1:8462"),
            ("GEMINI_TELEMETRY_ENABLED", "false"),
        ],
        files: &[(".gemini/settings.json", GEMINI)],
        remove: "rm -rf",
    },
    Agent {
        name: "copilot-cli",
        package: "@github/copilot",
        version: "1.0.102",
        program: "copilot",
        arguments: &[
            "--allow-all-tools",
            "--allow-all-paths",
            "--no-auto-update",
            "-p",
            PROMPT,
        ],
        environment: &[
            ("COPILOT_PROVIDER_BASE_URL", "http://127.0.0.1:8462/v1"),
            ("COPILOT_PROVIDER_TYPE", "openai"),
            ("COPILOT_PROVIDER_API_KEY", "scripted"),
            ("COPILOT_MODEL", "gpt-4.1"),
            ("COPILOT_OFFLINE", "true"),
        ],
        files: &[],
        remove: "rm -rf",
    },
    Agent {
        name: "pi",
        package: "@mariozechner/pi-coding-agent",
        version: "0.73.1",
        program: "pi",
        arguments: &[
            "--provider",
            "scripted",
            "--model",
            "scripted",
            "-p",
            PROMPT,
        ],
        environment: &[("PI_OFFLINE", "1"), ("PI_TELEMETRY", "0")],
        files: &[(".pi/agent/models.json", PI)],
        remove: "rm -rf",
    },
    Agent {
        name: "cline",
        package: "cline",
        version: "3.0.65",
        program: "cline",
        arguments: &["--auto-approve", "true", PROMPT],
        environment: &[("CLINE_TELEMETRY", "0")],
        files: &[(".cline/data/settings/providers.json", CLINE)],
        remove: "rm -rf",
    },
];

/// The agent of this name.
pub fn find(name: &str) -> Option<&'static Agent> {
    AGENTS.iter().find(|agent| agent.name == name)
}

/// The model does not read it.
const PROMPT: &str = "Do the work.";

const CODEX: &str = r#"
model = "gpt-5.1-codex"
model_provider = "scripted"
check_for_update_on_startup = false

[model_providers.scripted]
name = "scripted"
base_url = "http://127.0.0.1:8462/v1"
wire_api = "responses"
env_key = "SCRIPTED_KEY"

[analytics]
enabled = false
"#;

const OPENCODE: &str = r#"{
  "model": "scripted/scripted",
  "small_model": "scripted/scripted",
  "autoupdate": false,
  "share": "disabled",
  "permission": {"edit": "allow", "bash": "allow", "read": "allow"},
  "provider": {
    "scripted": {
      "npm": "@ai-sdk/openai-compatible",
      "name": "scripted",
      "options": {"baseURL": "http://127.0.0.1:8462/v1", "apiKey": "scripted"},
      "models": {"scripted": {"name": "scripted", "tool_call": true}}
    }
  }
}"#;

const GEMINI: &str = r#"{
  "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": false}},
  "privacy": {"usageStatisticsEnabled": false},
  "general": {"disableAutoUpdate": true}
}"#;

const PI: &str = r#"{
  "providers": {
    "scripted": {
      "baseUrl": "http://127.0.0.1:8462/v1",
      "api": "openai-completions",
      "apiKey": "scripted",
      "models": [{"id": "scripted"}]
    }
  }
}"#;

const CLINE: &str = r#"{
  "version": 1,
  "lastUsedProvider": "openai-compatible",
  "modes": {},
  "providers": {
    "openai-compatible": {
      "settings": {
        "provider": "openai-compatible",
        "apiKey": "scripted",
        "model": "scripted",
        "baseUrl": "http://127.0.0.1:8462/v1"
      },
      "updatedAt": "2026-01-01T00:00:00.000Z",
      "tokenSource": "manual"
    }
  }
}"#;

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]
mod tests {
    use super::*;
    use crate::lab::model::server::ADDRESS;

    #[test]
    fn every_agent_is_sent_to_the_scripted_model_and_nowhere_else() {
        for agent in AGENTS {
            let configured = agent.environment.iter().chain(agent.files);
            let urls: Vec<&str> = configured
                .flat_map(|(_, text)| text.match_indices("http").map(|(at, _)| &text[at..]))
                .collect();
            assert!(!urls.is_empty(), "{}", agent.name);
            for url in urls {
                let address = url.strip_prefix("http://").unwrap();
                assert!(
                    address.starts_with(&ADDRESS.to_string()),
                    "{}: {url}",
                    agent.name
                );
            }
        }
    }
}
