//! A C program that says where everything is: built by the compiler of nginx, with what nginx's makefile tells it, and run.
//! nginx's `configure` does the same.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::headers::Headers;
use crate::names::Structure;

/// What the C compiler says.
#[derive(Default)]
pub(crate) struct Places {
    /// Structure: bytes.
    pub(crate) sizes: HashMap<String, usize>,
    /// Structure and field: first byte, and bytes.
    pub(crate) fields: HashMap<(String, String), (usize, usize)>,
    /// Structure and bitfield: each byte that has a part of it, with that part's bits.
    pub(crate) bitfields: HashMap<(String, String), Vec<(usize, u8)>>,
}

/// Builds the program and reads what it prints.
pub(crate) fn ask(headers: &Headers, structures: &[Structure], out: &Path) -> Result<Places, String> {
    let source = out.join("layout.c");
    let program = out.join("layout");
    fs::write(&source, text(structures))
        .map_err(|error| format!("failed to write {}: {error}", source.display()))?;
    let (compiler, words) =
        headers.compiler.split_first().ok_or("nginx's makefile names no compiler (CC)")?;
    let mut command = Command::new(compiler);
    command.current_dir(&headers.source).args(words).args(&headers.flags).args(headers.includes());
    run(command.arg("-w").arg("-O0").arg("-o").arg(&program).arg(&source))?;
    read(&run(&mut Command::new(&program))?)
}

fn text(structures: &[Structure]) -> String {
    let mut body = String::new();
    for Structure { rust, c, fields, bitfields, .. } in structures {
        let _ = writeln!(body, "    printf(\"size {rust} %zu\\n\", sizeof({c}));");
        for field in fields {
            let (name, c_name) = (&field.rust, &field.c);
            let _ = writeln!(
                body,
                "    printf(\"field {rust} {name} %zu %zu\\n\", offsetof({c}, {c_name}), sizeof((({c} *) 0)->{c_name}));"
            );
        }
        for field in bitfields {
            let (name, c_name) = (&field.rust, &field.c);
            let _ = writeln!(
                body,
                "    {{ static {c} s; s.{c_name} = -1; bits(\"{rust} {name}\", (unsigned char *) &s, sizeof(s)); }}"
            );
        }
    }
    format!("{HEAD}int main(void)\n{{\n{body}    return 0;\n}}\n")
}

const HEAD: &str = r#"#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>
#include <stddef.h>
#include <stdio.h>

static void bits(const char *name, const unsigned char *byte, size_t size)
{
    size_t  i;

    printf("bits %s", name);
    for (i = 0; i < size; i++) {
        if (byte[i]) {
            printf(" %zu:%u", i, byte[i]);
        }
    }
    printf("\n");
}

"#;

fn run(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("failed to run {program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "failed to ask the C compiler for nginx's layout: {program}: {}\n{said}",
            output.status
        ));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{program}: what it printed is not UTF-8"))
}

fn read(printed: &str) -> Result<Places, String> {
    let mut places = Places::default();
    for line in printed.lines() {
        read_line(line, &mut places)
            .ok_or_else(|| format!("the layout has a line that makes no sense: \"{line}\""))?;
    }
    Ok(places)
}

fn read_line(line: &str, places: &mut Places) -> Option<()> {
    let mut words = line.split(' ');
    let (kind, structure) = (words.next()?, words.next()?.to_owned());
    if kind == "size" {
        places.sizes.insert(structure, words.next()?.parse().ok()?);
        return Some(());
    }
    let key = (structure, words.next()?.to_owned());
    match kind {
        "field" => {
            let place = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            places.fields.insert(key, place);
        }
        "bits" => {
            let bytes = words.map(|word| {
                let (byte, bits) = word.split_once(':')?;
                Some((byte.parse().ok()?, bits.parse().ok()?))
            });
            places.bitfields.insert(key, bytes.collect::<Option<_>>()?);
        }
        _ => return None,
    }
    Some(())
}
