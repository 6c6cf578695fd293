//! Problems as lines that editors read.

use super::{Problem, Problems};
use crate::plain::printable;

/// `/abs/path:31:9: error: message [code]`, what stands behind `devwatch: ` in the plain output. None where there
/// is no file to open.
///
/// One line whatever the tool wrote: control characters, and what turns the direction of text, are escaped.
pub fn plain_line(problem: &Problem) -> Option<String> {
    let mut line = place(problem, false)?;
    line += &format!(": {}: {}", problem.severity, printable(&problem.message));
    if let Some(code) = &problem.code {
        // The pattern of an editor ends a code at the first bracket.
        line += &format!(" [{}]", printable(code).replace(['[', ']'], ""));
    }
    Some(line)
}

/// `/abs/path:31:9: error: message`, a line of `.devwatch/locations`; column 1 where the tool names none. None where
/// there is no file to open.
pub fn location_line(problem: &Problem) -> Option<String> {
    let place = place(problem, true)?;
    let message = printable(&problem.message);
    Some(format!("{place}: {}: {message}", problem.severity))
}

/// What `.devwatch/locations` holds after a build: a line per problem, in the order in which they are shown; empty
/// without one.
pub fn locations(problems: &Problems) -> String {
    let lines = problems.list.iter().filter_map(location_line);
    lines.map(|line| line + "\n").collect()
}

fn place(problem: &Problem, always_column: bool) -> Option<String> {
    let path = printable(&problem.file.as_ref()?.to_string_lossy());
    let column = problem.column.or(always_column.then_some(1));
    let column = column.map_or_else(String::new, |column| format!(":{column}"));
    Some(format!("{path}:{}{column}", problem.line))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use regex::Regex;

    use super::*;
    use crate::diagnostics::Severity;

    fn problem(message: &str) -> Problem {
        Problem {
            path: "src/a.c".into(),
            file: Some("/home/me/my app/src/a.c".into()),
            line: 31,
            column: Some(9),
            end: None,
            severity: Severity::Error,
            message: message.into(),
            code: Some("-Wx".into()),
            tool: "gnu".into(),
            rendered: None,
        }
    }

    #[track_caller]
    fn check(problem: &Problem, expected: Expect) {
        let lines = [plain_line(problem), location_line(problem)];
        expected.assert_eq(&lines.map(|line| line.unwrap_or("-".into())).join("\n"));
    }

    #[test]
    fn a_problem_is_a_line() {
        let mut problem = problem("undefined: usr");
        check(
            &problem,
            expect![[r#"
                /home/me/my app/src/a.c:31:9: error: undefined: usr [-Wx]
                /home/me/my app/src/a.c:31:9: error: undefined: usr"#]],
        );
        problem.column = None;
        problem.code = None;
        problem.severity = Severity::Info;
        check(
            &problem,
            expect![[r#"
                /home/me/my app/src/a.c:31: info: undefined: usr
                /home/me/my app/src/a.c:31:1: info: undefined: usr"#]],
        );
        problem.file = None;
        check(
            &problem,
            expect![[r#"
            -
            -"#]],
        );
    }

    #[test]
    fn nothing_that_a_tool_prints_forges_a_line() {
        let mut forged = problem("x\n\u{1b}[2Jdevwatch: build 9 end ok\u{202e}");
        forged.file = Some("/a\nb".into());
        forged.code = Some("a]: [b\r".into());
        check(
            &forged,
            expect![[r#"
            /a\nb:31:9: error: x\n\u{1b}[2Jdevwatch: build 9 end ok\u{202e} [a: b\r]
            /a\nb:31:9: error: x\n\u{1b}[2Jdevwatch: build 9 end ok\u{202e}"#]],
        );
    }

    proptest::proptest! {
        #[test]
        fn an_editor_reads_the_same_out_of_a_line(
            message in "\\PC{1,30}",
            code in proptest::option::of("[-A-Za-z0-9/@]{1,10}"),
            column in proptest::option::of(1..500u32),
        ) {
            // What VS Code is told to look for, and what it makes of the groups.
            let pattern = Regex::new(
                r"^devwatch: (.+?):(\d+):(?:(\d+):)? (error|warning|info): (.*?)(?: \[([^\]]+)\])?$",
            );
            let mut problem = problem(&message);
            (problem.column, problem.code) = (column, code.clone());
            let line = format!("devwatch: {}", plain_line(&problem).expect("it has a file"));
            let groups = pattern.expect("a good pattern").captures(&line).expect("a match");
            let group = |n: usize| groups.get(n).map(|group| group.as_str().to_owned());
            proptest::prop_assert_eq!(group(1), Some("/home/me/my app/src/a.c".to_owned()));
            proptest::prop_assert_eq!(group(2), Some("31".to_owned()));
            proptest::prop_assert_eq!(group(3), column.map(|column| column.to_string()));
            proptest::prop_assert_eq!(group(4), Some("error".to_owned()));
            if code.is_some() {
                proptest::prop_assert_eq!(group(5), Some(printable(&message)));
                proptest::prop_assert_eq!(group(6), code);
            }
        }
    }

    #[test]
    fn locations_are_lines_and_without_problems_nothing() {
        let mut problems = Problems::default();
        assert_eq!(locations(&problems), "");
        problems.list = vec![problem("a"), problem("b")];
        problems.list[0].file = None;
        let expected = "/home/me/my app/src/a.c:31:9: error: b\n";
        assert_eq!(locations(&problems), expected);
    }
}
