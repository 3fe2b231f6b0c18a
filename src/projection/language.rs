//! What a template may say: the part of Jinja whose cost can be told from the size of what goes in.
//!
//! minijinja's fuel counts instructions, and bytes once they exist. That does not bound a list that refers to itself twice,
//! forty times over, nor one repeated a hundred million times, when it is turned into text or compared. So lists and maps
//! cannot be built up: a literal stands only where it is used at once (`| tojson`, `| join`, `in`, `for`), nothing
//! multiplies or adds lists, and there are no macros, functions or other templates. What a variable holds is then a text,
//! a number, or the flat list that `split` or `lines` made of one.

use minijinja::machinery::ast::{BinOpKind, CallArg, CompareOpKind, Expr, Stmt};
use minijinja::machinery::{Token, parse, tokenize};
use minijinja::syntax::SyntaxConfig;

/// A tag with more tokens than this is refused: a chain of operators is as deep in the syntax tree as it is long.
const MAX_TOKENS_PER_TAG: usize = 300;
/// `elif` is as deep as it is long, too.
const MAX_BRANCHES: usize = 100;
/// A slice of a list is a view of it: slices of slices of slices cost more for each item than fuel counts.
const MAX_SLICES: usize = 8;

/// Filters, with the most arguments that each may have.
pub(super) const FILTERS: &[(&str, usize)] = &[
    ("b64decode", 0),
    ("b64encode", 0),
    ("bool", 0),
    ("capitalize", 0),
    ("count", 0),
    ("d", 2),
    ("default", 2),
    ("e", 0),
    ("escape", 0),
    ("first", 0),
    ("float", 1),
    ("indent", 3),
    ("int", 2),
    ("join", 1),
    ("last", 0),
    ("length", 0),
    ("lines", 0),
    ("lower", 0),
    ("replace", 3),
    ("split", 2),
    ("string", 0),
    ("title", 0),
    ("tojson", 0),
    // Not with characters to trim: their number times the text's length is not bounded by fuel.
    ("trim", 0),
    ("upper", 0),
    ("urlencode", 0),
];

/// Filters whose result is never a list.
const SCALAR: &[&str] = &[
    "b64decode",
    "b64encode",
    "bool",
    "capitalize",
    "count",
    "e",
    "escape",
    "float",
    "indent",
    "int",
    "join",
    "length",
    "lower",
    "replace",
    "string",
    "title",
    "tojson",
    "trim",
    "upper",
    "urlencode",
];

const TESTS: &[&str] = &[
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "in",
    "ne",
    "none",
    "number",
    "odd",
    "startingwith",
    "string",
    "true",
    "undefined",
];

/// Why a template is refused before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// Where, if the parser can tell.
    pub(super) line: Option<usize>,
    /// What is wrong and what to write. Names only what stands in the template.
    pub(super) what: String,
}

impl Refused {
    fn at(line: usize, what: impl Into<String>) -> Self {
        Self { line: Some(line), what: what.into() }
    }
}

/// How templates are read.
pub(super) fn syntax() -> SyntaxConfig {
    // With the default delimiters nothing can go wrong; if it did, the default is as good.
    SyntaxConfig::builder().keep_trailing_newline(true).build().unwrap_or_default()
}

/// Whether the template is of the part of Jinja that we allow.
pub(super) fn check(source: &str) -> Result<(), Refused> {
    check_length(source)?;
    let parsed = parse(source, "template", syntax())
        .map_err(|error| Refused { line: error.line(), what: "is not a valid template".into() })?;
    match parsed {
        Stmt::Template(template) => statements(&template.children),
        _ => Err(Refused { line: None, what: "is not a valid template".into() }),
    }
}

/// Keeps the syntax tree shallow: whatever walks it, ours or minijinja's, goes as deep on the stack.
fn check_length(source: &str) -> Result<(), Refused> {
    let (mut tokens, mut branches, mut slices) = (0, 0, 0);
    let mut open = Vec::new();
    for token in tokenize(source, false, syntax()) {
        let (token, span) =
            token.map_err(|error| Refused { line: error.line(), what: "is not a valid template".into() })?;
        tokens += 1;
        match token {
            Token::VariableStart | Token::BlockStart => {
                tokens = 0;
                open.clear();
            }
            Token::Ident("elif") => branches += 1,
            Token::BracketOpen => open.push(true),
            Token::BraceOpen | Token::ParenOpen => open.push(false),
            Token::BracketClose | Token::BraceClose | Token::ParenClose => {
                open.pop();
            }
            Token::Colon if open.last() == Some(&true) => slices += 1,
            _ => {}
        }
        let too_much = match () {
            () if tokens > MAX_TOKENS_PER_TAG => "has too long a tag: split it with {% set %}",
            () if branches > MAX_BRANCHES => "has too many elif: write fewer",
            // A slice has one colon or two.
            () if slices > 2 * MAX_SLICES => "takes too many slices: write fewer [a:b]",
            () => continue,
        };
        return Err(Refused::at(usize::from(span.start_line), too_much));
    }
    Ok(())
}

fn statements(statements: &[Stmt<'_>]) -> Result<(), Refused> {
    statements.iter().try_for_each(statement)
}

fn statement(statement: &Stmt<'_>) -> Result<(), Refused> {
    match statement {
        Stmt::EmitRaw(_) => Ok(()),
        Stmt::EmitExpr(emit) => expression(&emit.expr),
        Stmt::Set(set) => {
            target(&set.target)?;
            expression(&set.expr)
        }
        Stmt::IfCond(branch) => {
            expression(&branch.expr)?;
            statements(&branch.true_body)?;
            statements(&branch.false_body)
        }
        Stmt::ForLoop(each) => {
            if each.recursive {
                return Err(Refused { line: None, what: "has a recursive loop: write it out".into() });
            }
            target(&each.target)?;
            literal(&each.iter, Literal::Flat)?;
            each.filter_expr.iter().try_for_each(expression)?;
            statements(&each.body)?;
            statements(&each.else_body)
        }
        _ => Err(Refused { line: None, what: "has a tag other than if, for and set: remove it".into() }),
    }
}

/// One plain name: unpacking would need lists of lists.
fn target(target: &Expr<'_>) -> Result<(), Refused> {
    match target {
        Expr::Var(name) if name.id != "secrets" => Ok(()),
        other => Err(Refused::at(line(other), "assigns to something else than one name (secrets is taken)")),
    }
}

/// Which literals may stand in a place.
#[derive(Clone, Copy, PartialEq)]
enum Literal {
    /// A list of scalars.
    Flat,
    /// Lists and maps in each other: whoever uses them bounds what comes out.
    Nested,
}

fn literal(expr: &Expr<'_>, allowed: Literal) -> Result<(), Refused> {
    let item = |item: &Expr<'_>| if allowed == Literal::Nested { literal(item, allowed) } else { expression(item) };
    match expr {
        Expr::List(list) => list.items.iter().try_for_each(item),
        Expr::Tuple(tuple) => tuple.items.iter().try_for_each(item),
        Expr::Map(map) if allowed == Literal::Nested => {
            map.keys.iter().try_for_each(expression)?;
            map.values.iter().try_for_each(item)
        }
        other => expression(other),
    }
}

fn expression(expr: &Expr<'_>) -> Result<(), Refused> {
    match expr {
        Expr::Var(_) | Expr::Const(_) => Ok(()),
        Expr::Slice(slice) => {
            expression(&slice.expr)?;
            [&slice.start, &slice.stop, &slice.step].into_iter().flatten().try_for_each(expression)
        }
        Expr::UnaryOp(unary) => expression(&unary.expr),
        Expr::BinOp(binary) => {
            match binary.op {
                BinOpKind::Mul | BinOpKind::Pow | BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem => {
                    return Err(Refused::at(
                        line(expr),
                        "calculates with *, /, // , % or **: a template only puts texts together",
                    ));
                }
                BinOpKind::Add | BinOpKind::Sub if !is_scalar(&binary.left) && !is_scalar(&binary.right) => {
                    return Err(Refused::at(
                        line(expr),
                        "adds two variables with + or -: join texts with ~, convert numbers with |int",
                    ));
                }
                _ => {}
            }
            expression(&binary.left)?;
            if matches!(binary.op, BinOpKind::In) {
                literal(&binary.right, Literal::Flat)
            } else {
                expression(&binary.right)
            }
        }
        Expr::Compare(compare) => {
            expression(&compare.expr)?;
            compare.ops.iter().try_for_each(|op| match op.op {
                CompareOpKind::In | CompareOpKind::NotIn => literal(&op.expr, Literal::Flat),
                _ => expression(&op.expr),
            })
        }
        Expr::IfExpr(branch) => {
            expression(&branch.test_expr)?;
            expression(&branch.true_expr)?;
            branch.false_expr.iter().try_for_each(expression)
        }
        Expr::Filter(filter) => {
            let Some((_, most)) = FILTERS.iter().find(|(name, _)| *name == filter.name) else {
                let known: Vec<&str> = FILTERS.iter().map(|(name, _)| *name).collect();
                return Err(Refused::at(
                    line(expr),
                    format!("uses a filter that is not there, {:?}: use one of {}", filter.name, known.join(", ")),
                ));
            };
            if filter.args.len() > *most {
                return Err(Refused::at(
                    line(expr),
                    format!("gives the filter {:?} more than {most} arguments", filter.name),
                ));
            }
            arguments(&filter.args)?;
            match (&filter.expr, filter.name) {
                (Some(operand), "tojson") => literal(operand, Literal::Nested),
                (Some(operand), "join") => literal(operand, Literal::Flat),
                (Some(operand), _) => expression(operand),
                (None, _) => Ok(()),
            }
        }
        Expr::Test(test) => {
            if !TESTS.contains(&test.name) {
                return Err(Refused::at(
                    line(expr),
                    format!("uses a test that is not there, {:?}: use one of {}", test.name, TESTS.join(", ")),
                ));
            }
            expression(&test.expr)?;
            arguments(&test.args)
        }
        Expr::GetAttr(get) => expression(&get.expr),
        Expr::GetItem(get) => {
            expression(&get.expr)?;
            expression(&get.subscript_expr)
        }
        Expr::Call(_) => Err(Refused::at(line(expr), "calls a function or method: there are only filters")),
        Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) => Err(Refused::at(
            line(expr),
            "has a list or map where it is not used at once: write it before | tojson, or a list before | join or after in",
        )),
    }
}

fn arguments(arguments: &[CallArg<'_>]) -> Result<(), Refused> {
    arguments.iter().try_for_each(|argument| match argument {
        CallArg::Pos(expr) | CallArg::Kwarg(_, expr) => expression(expr),
        CallArg::PosSplat(expr) | CallArg::KwargSplat(expr) => {
            Err(Refused::at(line(expr), "spreads arguments with * or **: write them one by one"))
        }
    })
}

/// Whether it certainly is no list, so that + adds numbers or texts.
fn is_scalar(expr: &Expr<'_>) -> bool {
    match expr {
        Expr::Const(_) => true,
        Expr::Filter(filter) => SCALAR.contains(&filter.name),
        Expr::BinOp(binary) => matches!(binary.op, BinOpKind::Add | BinOpKind::Sub | BinOpKind::Concat),
        _ => false,
    }
}

fn line(expr: &Expr<'_>) -> usize {
    usize::from(expr.span().start_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_templates_are_for_is_allowed() {
        for source in [
            "",
            "plain",
            "postgres://{{ username }}:{{ password | urlencode }}@db/orders",
            r#"{{ secrets["a.b"] }}{{ secrets['a.b'] | default("x") }}"#,
            "{% if tls is defined and port == '5432' %}s{% elif a %}b{% else %}n{% endif %}",
            "{% for host in hosts | split(',') %}{{ host | trim }}{{ ';' if not loop.last }}{% endfor %}",
            "{% set auth = username ~ ':' ~ password %}{{ {'auths': {registry: {'auth': auth | b64encode, 'l': [1, a]}}} | tojson }}",
            "{{ [a, b] | join(',') }}{{ 'x' if a in ['b', 'c'] }}{{ 'y' if a not in ('b', 'c') }}",
            "{{ 'a' + b + c }}{{ port | int + 1 }}{{ password[:4] }}{{ password[::2] }}{{ -1 }}{# no #}",
            "{{ [{'a': 1, 'b': 1, 'c': 1, 'd': 1, 'e': 1, 'f': 1, 'g': 1, 'h': 1, 'i': 1, 'j': 1, 'k': 1, 'l': 1, 'm': 1, 'n': 1, 'o': 1, 'p': 1, 'q': 1}] | tojson }}",
            "{{ key | indent(4, true) }}{{ a | replace('x', 'y') }}{{ a | lower | e }}",
        ] {
            assert_eq!(check(source), Ok(()), "{source}");
        }
    }

    #[test]
    fn what_could_grow_or_reach_out_is_not() {
        for source in [
            "{% include 'x' %}",
            "{% import 'x' as y %}",
            "{% macro m() %}{% endmacro %}",
            "{% block b %}{% endblock %}",
            "{% with a = 1 %}{% endwith %}",
            "{% set a %}x{% endset %}",
            "{% filter upper %}x{% endfilter %}",
            "{% autoescape true %}{% endautoescape %}",
            "{% for a in b recursive %}{{ loop(a) }}{% endfor %}",
            "{% for a, b in c %}{% endfor %}",
            "{% set secrets = a %}",
            "{% set a = [b, b] %}",
            "{% set a = {'b': b} %}",
            "{% set a = (b, b) %}",
            "{{ [a] if b else c }}",
            "{% for a in [[b, b], [b, b]] %}{% endfor %}",
            "{{ a * 3 }}",
            "{{ [1] * 3 }}",
            "{{ a ** b }}",
            "{{ a + b }}",
            "{{ (a | split) + (b | split) }}",
            "{{ range(3) }}",
            "{{ debug() }}",
            "{{ a.upper() }}",
            "{{ a | map('upper') }}",
            "{{ a | sum }}",
            "{{ '%s' | format(a) }}",
            "{{ a | pprint }}",
            "{{ a | trim('x') }}",
            "{{ a | tojson(9) }}",
            "{{ a | default(*b) }}",
            "{{ a is sameas(b) }}",
            "{{ a[:1][:1][:1][:1][:1][:1][:1][:1][:1][:1][:1][:1][:1][:1][:1][:1][:1] }}",
            "{{ a",
            "{% if a %}",
            "{{ 'a",
        ] {
            assert!(check(source).is_err(), "{source}");
        }
    }

    #[test]
    fn a_long_chain_is_refused_before_anything_walks_it() {
        for source in [
            format!("{{{{ {}a }}}}", "a~".repeat(8000)),
            format!("{{{{ a{} }}}}", "|d".repeat(8000)),
            format!("{{{{ a{} }}}}", ".b".repeat(8000)),
            format!("{{{{ a{} }}}}", "[0]".repeat(5000)),
            format!("{{{{ {}a }}}}", "not ".repeat(4000)),
            format!("{{{{ {}a }}}}", "-".repeat(8000)),
            format!("{{{{ {}a{} }}}}", "(".repeat(8000), ")".repeat(8000)),
            format!("{{{{ {}a{} }}}}", "[".repeat(140), "]".repeat(140)),
            format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(1300)),
            format!("{}{}", "{% if a %}".repeat(800), "{% endif %}".repeat(800)),
        ] {
            assert!(check(&source).is_err(), "{}", &source[..40]);
        }
        for source in [
            format!("{{{{ {}a }}}}", "a~".repeat(140)),
            format!("{{{{ a{} }}}}", "|d".repeat(140)),
            format!("{{{{ {}a{} }}}}", "(".repeat(70), ")".repeat(70)),
            format!("{{% if a %}}{}{{% endif %}}", "{% elif a %}".repeat(90)),
            format!("{}{}", "{% if a %}".repeat(70), "{% endif %}".repeat(70)),
        ] {
            assert_eq!(check(&source), Ok(()), "{}", &source[..40]);
        }
    }
}
