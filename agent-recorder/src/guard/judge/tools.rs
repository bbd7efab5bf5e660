//! Tools that fill directories, and the names of these directories by the tools' defaults.
//!
//! Not here: names without a tool's own file beside them. They say nothing.

/// One tool.
pub(super) struct Row {
    /// Patterns of the files of which one lies in the project's directory.
    pub(super) markers: &'static [&'static str],
    /// A directory that must lie beside the marker; for markers with a common name.
    pub(super) beside: Option<&'static str>,
    /// Patterns of names, of one component or several.
    pub(super) names: &'static [&'static str],
    /// Patterns of names that are also names of sources.
    pub(super) if_ignored: &'static [&'static str],
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
pub(super) const ROWS: &[Row] = &[
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
