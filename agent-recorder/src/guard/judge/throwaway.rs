//! Directories that a tool fills: a throwaway name, with the tool's own file beside it.
//! The name alone says nothing: a person can have a home `build`.
//!
//! Not here: how far up a name may speak (`ground`), and whether the repository tracks
//! what lies below (`bench`).

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::settings::Settings;

/// Most names of a project directory that are compared with the patterns of markers.
const MOST_NAMES: usize = 4096;

/// How much a name proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// The tool's own name for what it makes.
    Name,
    /// Also a usual name for sources: the repository must ignore it.
    IfIgnored,
}

/// A directory that a tool fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Throwaway {
    /// The directory.
    pub(super) directory: PathBuf,
    pub(super) proof: Proof,
}

/// One tool.
struct Row {
    /// Patterns of the files of which one lies in the project's directory.
    markers: &'static [&'static str],
    /// A directory that must lie beside the marker; for markers with a common name.
    beside: Option<&'static str>,
    /// Patterns of names, of one component or several.
    names: &'static [&'static str],
    /// Patterns of names that are also names of sources.
    if_ignored: &'static [&'static str],
}

const fn row(
    markers: &'static [&'static str],
    names: &'static [&'static str],
    if_ignored: &'static [&'static str],
) -> Row {
    Row {
        markers,
        beside: None,
        names,
        if_ignored,
    }
}

/// The tools, each with the names of its defaults.
const ROWS: &[Row] = &[
    row(
        &["package.json"],
        &[
            "node_modules",
            "bower_components",
            "dist",
            "build",
            ".next",
            ".nuxt",
            ".output",
            ".svelte-kit",
            ".astro",
            ".expo",
            ".docusaurus",
            ".angular",
            ".vite",
            ".vitepress/dist",
            ".vitepress/cache",
            ".wrangler",
            ".vercel/output",
            ".netlify/functions-serve",
            ".cache",
            ".parcel-cache",
            ".turbo",
            ".rollup.cache",
            ".nyc_output",
            ".vscode-test",
            ".yarn/cache",
            ".yarn/unplugged",
            ".pnpm-store",
            "storybook-static",
            "coverage",
            "test-results",
            "playwright-report",
            "blob-report",
            "jspm_packages",
            "dist-*",
            "elm-stuff",
        ],
        &[
            "out", "lib", "es", "esm", "cjs", "types", "public", "www", "tmp",
        ],
    ),
    // Jest and vitest write these beside the tests.
    row(&["*.test.*", "*.spec.*"], &["__snapshots__"], &[]),
    row(
        &["Cargo.toml"],
        &["target", "fuzz/target", "target-*"],
        &["vendor"],
    ),
    row(
        &[
            "pyproject.toml",
            "setup.py",
            "setup.cfg",
            "requirements*.txt",
            "tox.ini",
            "noxfile.py",
            "Pipfile",
        ],
        &[
            "build",
            "dist",
            "*.egg-info",
            "*.dist-info",
            ".eggs",
            ".tox",
            ".nox",
            ".venv",
            "venv",
            "htmlcov",
            ".pytest_cache",
            ".mypy_cache",
            ".ruff_cache",
            ".hypothesis",
            ".pdm-build",
            "__pypackages__",
            "wheelhouse",
            "src/*.egg-info",
        ],
        &["env", "site"],
    ),
    row(
        &["*.py"],
        &[
            "__pycache__",
            ".ipynb_checkpoints",
            ".pytest_cache",
            ".mypy_cache",
            ".ruff_cache",
        ],
        &[],
    ),
    row(&["*.ipynb"], &[".ipynb_checkpoints"], &[]),
    row(
        &["*.csproj", "*.fsproj", "*.vbproj", "*.sln", "*.slnx"],
        &["bin", "obj", "TestResults"],
        &["wwwroot", "artifacts", "packages"],
    ),
    row(
        &["CMakeLists.txt"],
        &[
            "build",
            "build-*",
            "build_*",
            "cmake-build-*",
            "_build",
            "builddir",
            "CMakeFiles",
        ],
        &["out", "bin", "lib"],
    ),
    row(
        &["meson.build"],
        &["build", "build-*", "builddir", "builddir-*", "_build"],
        &[],
    ),
    row(
        &[
            "Makefile",
            "GNUmakefile",
            "makefile",
            "configure.ac",
            "configure",
        ],
        &[
            "build",
            "out",
            "obj",
            "_build",
            ".deps",
            ".libs",
            "autom4te.cache",
        ],
        &["bin", "dist", "target", "generated"],
    ),
    row(&["SConstruct"], &["build", ".sconf_temp"], &[]),
    row(&["pom.xml"], &["target"], &[]),
    row(
        &[
            "build.gradle",
            "build.gradle.kts",
            "settings.gradle",
            "settings.gradle.kts",
        ],
        &["build", ".gradle", ".kotlin", ".cxx"],
        &["out", "bin"],
    ),
    row(
        &["build.sbt"],
        &["target", "project/target", ".bsp", ".bloop", ".metals"],
        &[],
    ),
    row(&["build.mill", "build.sc"], &["out"], &[]),
    row(
        &["project.clj", "deps.edn", "shadow-cljs.edn"],
        &["target", ".cpcache", ".shadow-cljs"],
        &["out"],
    ),
    row(&["go.mod"], &["vendor"], &["bin", "dist", "build"]),
    row(
        &["composer.json"],
        &["vendor", "var/cache", "bootstrap/cache", ".phpunit.cache"],
        &["public/build", "public/bundles"],
    ),
    row(
        &["artisan"],
        &[
            "storage/framework/views",
            "storage/framework/cache",
            "storage/debugbar",
        ],
        &[],
    ),
    row(
        &["Gemfile"],
        &[
            "vendor/bundle",
            ".bundle",
            "tmp/cache",
            "public/assets",
            "public/packs",
            "public/packs-test",
        ],
        &["coverage", "tmp", "pkg"],
    ),
    row(&["manage.py"], &["staticfiles"], &["static_root"]),
    row(&["mkdocs.yml", "mkdocs.yaml"], &["site"], &[]),
    row(
        &["hugo.toml", "hugo.yaml", "hugo.json"],
        &["public", "resources/_gen"],
        &["resources"],
    ),
    Row {
        markers: &["config.toml", "config.yaml", "config.json"],
        beside: Some("content"),
        names: &["public", "resources/_gen"],
        if_ignored: &["resources"],
    },
    row(
        &["_config.yml", "_config.yaml"],
        &["_site", ".jekyll-cache", ".jekyll-metadata", ".sass-cache"],
        &["public"],
    ),
    row(
        &["conf.py"],
        &["_build", "html_out", "build", ".doctrees"],
        &["html"],
    ),
    row(&["book.toml"], &["book"], &[]),
    row(&["Doxyfile"], &["html", "latex", "xml"], &["docs"]),
    row(&["Package.swift"], &[".build", ".swiftpm"], &[]),
    row(
        &["*.xcodeproj", "*.xcworkspace"],
        &["DerivedData"],
        &["build"],
    ),
    row(&["Podfile"], &["Pods"], &[]),
    row(
        &["WORKSPACE", "WORKSPACE.bazel", "MODULE.bazel"],
        &["bazel-*"],
        &[],
    ),
    row(
        &["*.tf", "terragrunt.hcl"],
        &[".terraform", ".terragrunt-cache"],
        &[],
    ),
    row(&["cdk.json"], &["cdk.out"], &[]),
    row(
        &["serverless.yml", "serverless.ts"],
        &[".serverless", ".esbuild"],
        &[],
    ),
    row(&["template.yaml", "samconfig.toml"], &[".aws-sam"], &[]),
    row(&["Pulumi.yaml"], &[], &["bin"]),
    row(
        &["mix.exs"],
        &[
            "_build",
            "deps",
            ".elixir_ls",
            "priv/static/assets",
            "cover",
        ],
        &[],
    ),
    row(&["rebar.config"], &["_build"], &[]),
    row(&["gleam.toml"], &["build"], &[]),
    row(
        &["dune-project", "dune-workspace"],
        &["_build", "_opam"],
        &[],
    ),
    row(&["stack.yaml"], &[".stack-work"], &[]),
    row(
        &["*.cabal", "cabal.project"],
        &["dist", "dist-newstyle"],
        &[],
    ),
    row(&["build.zig"], &["zig-cache", ".zig-cache", "zig-out"], &[]),
    row(
        &["pubspec.yaml"],
        &[".dart_tool", "build", ".pub-cache"],
        &[],
    ),
    row(&["dub.json", "dub.sdl"], &[".dub"], &[]),
    row(&["shard.yml"], &["lib", ".shards"], &[]),
    row(&["Project.toml"], &["docs/build"], &[]),
    row(
        &["foundry.toml"],
        &["out", "cache", "broadcast/*/31337"],
        &[],
    ),
    row(
        &["hardhat.config.*"],
        &["artifacts", "cache", "typechain-types"],
        &[],
    ),
    row(&["platformio.ini"], &[".pio"], &[]),
    row(&["west.yml"], &["build"], &[]),
    row(
        &[
            "buf.gen.yaml",
            "openapi-generator*.json",
            "openapitools.json",
        ],
        &[],
        &["gen", "generated", "src/generated"],
    ),
    row(&["dvc.yaml", ".dvcignore"], &[".dvc/tmp"], &[]),
    row(
        &["dbt_project.yml"],
        &["target", "dbt_packages", "dbt_modules"],
        &[],
    ),
    row(
        &[".pre-commit-config.yaml"],
        &[".pytest_cache", ".mypy_cache", ".ruff_cache"],
        &[],
    ),
];

/// Most components of a name in the table.
const LONGEST_NAME: usize = 3;

/// Project directories and directories that were examined.
#[derive(Debug)]
pub(super) struct Throwaways<'a> {
    settings: &'a Settings,
    names: HashMap<PathBuf, Vec<OsString>>,
    known: HashMap<PathBuf, Option<Proof>>,
}

impl<'a> Throwaways<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self {
            settings,
            names: HashMap::new(),
            known: HashMap::new(),
        }
    }

    /// Whether a tool fills this directory. `admits` says whether a project's directory
    /// lies where a project may speak.
    pub(super) fn examine(
        &mut self,
        directory: &Path,
        admits: impl Fn(&Path) -> bool,
    ) -> Option<Throwaway> {
        let known = self.known.get(directory).copied();
        let proof = known.unwrap_or_else(|| {
            let proof = self.prove(directory, admits);
            self.known.insert(directory.to_owned(), proof);
            proof
        })?;
        Some(Throwaway {
            directory: directory.to_owned(),
            proof,
        })
    }

    fn prove(&mut self, directory: &Path, admits: impl Fn(&Path) -> bool) -> Option<Proof> {
        let mut best = None;
        for project in directory.ancestors().skip(1).take(LONGEST_NAME) {
            if !admits(project) {
                break;
            }
            let Ok(name) = directory.strip_prefix(project) else {
                break;
            };
            for row in ROWS {
                let is = |pattern: &&str| matches(pattern, name.as_os_str());
                let proof = if row.names.iter().any(is) {
                    Proof::Name
                } else if row.if_ignored.iter().any(is) {
                    Proof::IfIgnored
                } else {
                    continue;
                };
                if best != Some(Proof::Name) && self.has_marker(project, row) {
                    best = Some(proof);
                }
            }
        }
        best
    }

    fn has_marker(&mut self, project: &Path, row: &Row) -> bool {
        if let Some(beside) = row.beside {
            let found = fs::symlink_metadata(project.join(beside));
            if !found.is_ok_and(|found| found.is_dir()) {
                return false;
            }
        }
        row.markers.iter().any(|marker| {
            if marker.contains('*') {
                let names = self.names_in(project);
                let named: Vec<_> = names
                    .iter()
                    .filter(|name| matches(marker, name))
                    .map(|name| project.join(name))
                    .collect();
                named.iter().any(|marker| self.stands(marker))
            } else {
                self.stands(&project.join(marker))
            }
        })
    }

    /// A marker that is gone says that the project goes as a whole.
    fn stands(&self, marker: &Path) -> bool {
        // A project of Xcode is a directory; a link says nothing.
        let is_there = fs::symlink_metadata(marker).is_ok_and(|found| !found.is_symlink());
        is_there && !self.settings.is_planted(marker)
    }

    fn names_in(&mut self, project: &Path) -> &[OsString] {
        self.names.entry(project.to_owned()).or_insert_with(|| {
            // A directory that cannot be read has no marker.
            let entries = fs::read_dir(project).into_iter().flatten();
            let names = entries.take(MOST_NAMES).flatten();
            names.map(|entry| entry.file_name()).collect()
        })
    }
}

/// `*` stands for any bytes of one component.
fn matches(pattern: &str, name: &OsStr) -> bool {
    let mode = gix::glob::wildmatch::Mode::NO_MATCH_SLASH_LITERAL;
    gix::glob::wildmatch(pattern.into(), name.as_bytes().into(), mode)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn proof(project: &Path, name: &str) -> Option<Proof> {
        let settings = Settings::default();
        let mut throwaways = Throwaways::new(&settings);
        let found = throwaways.examine(&project.join(name), |at| at.starts_with(project));
        found.map(|found| found.proof)
    }

    #[test]
    fn each_name_needs_its_own_tools_marker_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        for row in ROWS {
            for marker in row.markers {
                let project = directory.path().join("project");
                fs::create_dir_all(&project).unwrap();
                let sample = |pattern: &str| pattern.replace('*', "x");
                let names = row.names.iter().chain(row.if_ignored);
                for name in names.clone() {
                    assert_eq!(proof(&project, &sample(name)), None, "{name}");
                }
                if let Some(beside) = row.beside {
                    fs::create_dir(project.join(beside)).unwrap();
                }
                fs::write(project.join(sample(marker)), "").unwrap();
                for name in names {
                    let found = proof(&project, &sample(name));
                    assert!(found.is_some(), "{name} beside {marker}");
                }
                fs::remove_dir_all(&project).unwrap();
            }
        }
    }

    #[test]
    fn a_name_that_sources_have_too_proves_less() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("package.json"), "{}").unwrap();
        assert_eq!(proof(directory.path(), "node_modules"), Some(Proof::Name));
        assert_eq!(proof(directory.path(), "lib"), Some(Proof::IfIgnored));
        assert_eq!(proof(directory.path(), "src"), None);
    }

    #[test]
    fn a_marker_that_the_session_planted_proves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("package.json"), "{}").unwrap();
        let settings = Settings {
            homes: vec![],
            planted: Some(std::sync::Arc::new(|path: &Path| {
                path.ends_with("package.json")
            })),
        };
        let mut throwaways = Throwaways::new(&settings);
        let found = throwaways.examine(&directory.path().join("dist"), |_| true);
        assert_eq!(found, None);
    }

    #[test]
    fn no_name_is_longer_than_the_search_reaches() {
        let names = ROWS
            .iter()
            .flat_map(|row| row.names.iter().chain(row.if_ignored));
        for name in names {
            assert!(Path::new(name).iter().count() <= LONGEST_NAME, "{name}");
        }
    }
}
