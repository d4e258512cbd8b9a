//! Resolves every name in a template by the scoping rules that the template library uses while
//! rendering.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::machinery::{
    Span,
    ast::{BinOpKind, Call, CallArg, Expr, Filter, ForLoop, Macro, Spanned, Stmt},
};

use super::{
    NameFault, TEMPLATE_FILTERS, TEMPLATE_FUNCTIONS, TEMPLATE_TESTS, TemplateError, TemplateNames,
    TemplateWarning, UnknownName,
};
use crate::Excerpt;

/// The members of a secret.
pub(super) const SECRET_MEMBERS: &[&str] = &["data", "path", "version"];
/// The members of `loop`.
pub(super) const LOOP_MEMBERS: &[&str] = &[
    "depth",
    "depth0",
    "first",
    "index",
    "index0",
    "last",
    "length",
    "nextitem",
    "previtem",
    "revindex",
    "revindex0",
];
/// The methods of `loop`. No other value has methods.
const LOOP_METHODS: &[&str] = &["changed", "cycle"];
/// Maximum nesting depth of macros. The library walks each macro once for every enclosing macro.
const MACROS_NESTED: usize = 8;
/// Maximum number of unknown names of a template, and of warnings of one kind.
const KEPT: usize = 8;

/// Resolves all names of a parsed template.
pub(super) fn check(
    template: &Stmt<'_>,
    names: &TemplateNames<'_>,
) -> Result<Vec<TemplateWarning>, TemplateError> {
    let mut resolver = Resolver {
        names,
        set: BTreeMap::new(),
        scopes: Vec::new(),
        macros: Vec::new(),
        is_enclosed: true,
        defined: Vec::new(),
        used: BTreeSet::new(),
        unknown: Vec::new(),
        warnings: Vec::new(),
        uses_secret: false,
    };
    resolver.statement(template);
    resolver.finish()
}

/// A definition that is reported if it is never used.
struct Definition<'a> {
    name: &'a str,
    line: usize,
    is_macro: bool,
}

struct Resolver<'t, 'n> {
    names: &'n TemplateNames<'n>,
    /// For each name that the template sets, the positions in `scopes` where it was set, innermost
    /// last; `None` where a macro hides it.
    set: BTreeMap<&'t str, Vec<Option<usize>>>,
    /// The names that the open scopes have set or hidden, in order.
    scopes: Vec<&'t str>,
    /// The position in `scopes` where each open macro begins.
    macros: Vec<usize>,
    /// Whether the library captures the variables of the current expression when it is inside a
    /// macro.
    is_enclosed: bool,
    defined: Vec<Definition<'t>>,
    used: BTreeSet<&'t str>,
    unknown: Vec<UnknownName>,
    warnings: Vec<TemplateWarning>,
    uses_secret: bool,
}

fn line(span: Span) -> usize {
    usize::from(span.start_line)
}

/// The name of an attribute, `a.name` or `a["name"]`, and the expression that it is read from.
fn member<'e, 't>(expr: &'e Expr<'t>) -> Option<(&'e Expr<'t>, &'e str)> {
    match expr {
        Expr::GetAttr(attr) => Some((&attr.expr, attr.name)),
        Expr::GetItem(item) => Some((&item.expr, text(&item.subscript_expr)?)),
        _ => None,
    }
}

fn text<'e>(expr: &'e Expr<'_>) -> Option<&'e str> {
    match expr {
        Expr::Const(constant) => constant.value.as_str(),
        _ => None,
    }
}

/// The names that an assignment sets.
fn targets<'t>(target: &Expr<'t>, names: &mut BTreeSet<&'t str>) {
    match target {
        Expr::Var(var) => {
            names.insert(var.id);
        }
        Expr::List(list) => list.items.iter().for_each(|item| targets(item, names)),
        Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| targets(item, names)),
        _ => {}
    }
}

/// The names that statements set, in any scope.
fn assigned<'t>(statements: &[Stmt<'t>], names: &mut BTreeSet<&'t str>) {
    for statement in statements {
        match statement {
            Stmt::Template(template) => assigned(&template.children, names),
            Stmt::ForLoop(for_loop) => {
                targets(&for_loop.target, names);
                assigned(&for_loop.body, names);
                assigned(&for_loop.else_body, names);
            }
            Stmt::IfCond(condition) => {
                assigned(&condition.true_body, names);
                assigned(&condition.false_body, names);
            }
            Stmt::WithBlock(with) => {
                with.assignments.iter().for_each(|(target, _)| targets(target, names));
                assigned(&with.body, names);
            }
            Stmt::Set(set) => targets(&set.target, names),
            Stmt::SetBlock(set) => {
                targets(&set.target, names);
                assigned(&set.body, names);
            }
            Stmt::AutoEscape(escape) => assigned(&escape.body, names),
            Stmt::FilterBlock(block) => assigned(&block.body, names),
            Stmt::Macro(declared) => {
                names.insert(declared.name);
            }
            Stmt::EmitExpr(_) | Stmt::EmitRaw(_) | Stmt::CallBlock(_) | Stmt::Do(_) => {}
        }
    }
}

impl<'t> Resolver<'t, '_> {
    fn finish(mut self) -> Result<Vec<TemplateWarning>, TemplateError> {
        if !self.unknown.is_empty() {
            // A name that is set in another scope gets its own error.
            for unknown in &mut self.unknown {
                let NameFault::Variable(name) = &unknown.fault else { continue };
                if self.defined.iter().any(|definition| definition.name == unknown.name) {
                    unknown.fault = NameFault::Scope(name.clone());
                    unknown.known.clear();
                }
            }
            return Err(TemplateError::Names(self.unknown));
        }
        let unused = self.defined.iter().filter(|definition| !self.used.contains(definition.name));
        self.warnings.extend(unused.take(KEPT).map(|Definition { name, line, is_macro }| {
            let name = Excerpt::new(name);
            if *is_macro {
                TemplateWarning::UnusedMacro(*line, name)
            } else {
                TemplateWarning::UnusedVariable(*line, name)
            }
        }));
        if !self.uses_secret {
            self.warnings.push(TemplateWarning::NoSecret(match self.names {
                TemplateNames::Secret | TemplateNames::Lease => "data.<field>",
                TemplateNames::Secrets(_) => "secrets.<alias>.data.<field>",
            }));
        }
        Ok(self.warnings)
    }

    fn scoped(&mut self, body: impl FnOnce(&mut Self)) {
        let open = self.scopes.len();
        body(self);
        for name in self.scopes.drain(open..) {
            if let Some(places) = self.set.get_mut(name) {
                places.pop();
            }
        }
    }

    fn set(&mut self, name: &'t str) {
        self.set.entry(name).or_default().push(Some(self.scopes.len()));
        self.scopes.push(name);
    }

    fn hide(&mut self, name: &'t str) {
        self.set.entry(name).or_default().push(None);
        self.scopes.push(name);
    }

    fn is_set(&self, name: &str) -> bool {
        let place = self.set.get(name).and_then(|places| *places.last()?);
        let own = if self.is_enclosed { 0 } else { self.macros.last().copied().unwrap_or_default() };
        place.is_some_and(|place| place >= own)
    }

    /// Resolves an expression whose variables the library does not capture in a macro: it sees only
    /// names that the macro sets.
    fn not_enclosed(&mut self, expr: &Expr<'t>) {
        let outer = std::mem::replace(&mut self.is_enclosed, false);
        self.expr(expr);
        self.is_enclosed = outer;
    }

    fn unknown(&mut self, span: Span, fault: fn(Excerpt) -> NameFault, name: &str, known: &[&str]) {
        if self.unknown.len() < KEPT {
            let fault = fault(Excerpt::new(name));
            let always = fault.known();
            let known = if known.is_empty() { always } else { known };
            let known = known.iter().map(|&known| known.to_owned()).collect();
            self.unknown.push(UnknownName { line: line(span), fault, name: name.to_owned(), known });
        }
    }

    fn statements(&mut self, statements: &[Stmt<'t>]) {
        for statement in statements {
            self.statement(statement);
        }
    }

    fn statement(&mut self, statement: &Stmt<'t>) {
        match statement {
            Stmt::Template(template) => self.statements(&template.children),
            Stmt::EmitRaw(_) => {}
            Stmt::EmitExpr(emit) => self.expr(&emit.expr),
            Stmt::ForLoop(for_loop) => self.for_loop(for_loop),
            // A condition does not open a scope.
            Stmt::IfCond(condition) => {
                self.expr(&condition.expr);
                self.statements(&condition.true_body);
                self.statements(&condition.false_body);
            }
            Stmt::WithBlock(with) => self.scoped(|this| {
                for (target, value) in &with.assignments {
                    this.expr(value);
                    this.assign(target, None);
                }
                this.statements(&with.body);
            }),
            Stmt::Set(set) => {
                self.expr(&set.expr);
                self.assign(&set.target, Some(set.span()));
            }
            Stmt::SetBlock(set) => {
                self.statements(&set.body);
                set.filter.iter().for_each(|filter| self.not_enclosed(filter));
                self.assign(&set.target, Some(set.span()));
            }
            Stmt::AutoEscape(escape) => {
                if self.warnings.len() < KEPT {
                    self.warnings.push(TemplateWarning::AutoEscape(line(escape.span())));
                }
                self.not_enclosed(&escape.enabled);
                self.statements(&escape.body);
            }
            Stmt::FilterBlock(block) => {
                self.statements(&block.body);
                self.not_enclosed(&block.filter);
            }
            Stmt::Macro(declared) => self.macro_declaration(declared),
            Stmt::CallBlock(block) => {
                self.call(&block.call);
                self.macro_body(&block.macro_decl);
            }
            Stmt::Do(statement) => self.call(&statement.call),
        }
    }

    fn for_loop(&mut self, for_loop: &ForLoop<'t>) {
        self.expr(&for_loop.iter);
        // The condition of a loop is evaluated without the variable `loop`.
        if let Some(filter) = &for_loop.filter_expr {
            self.scoped(|this| {
                this.assign(&for_loop.target, None);
                this.expr(filter);
            });
        }
        self.scoped(|this| {
            this.set("loop");
            this.assign(&for_loop.target, None);
            this.statements(&for_loop.body);
        });
        self.statements(&for_loop.else_body);
    }

    fn macro_declaration(&mut self, declared: &Spanned<Macro<'t>>) {
        self.define(declared.name, declared.span(), true);
        self.set(declared.name);
        self.macro_body(declared);
    }

    /// Resolves a macro. It sees the enclosing variables that are set where it is declared, except
    /// those with a name that it sets itself, which the library does not capture.
    fn macro_body(&mut self, declared: &Spanned<Macro<'t>>) {
        if self.macros.len() == MACROS_NESTED {
            self.unknown(declared.span(), NameFault::Nested, declared.name, &[]);
            return;
        }
        let mut own = BTreeSet::new();
        declared.args.iter().for_each(|parameter| targets(parameter, &mut own));
        assigned(&declared.body, &mut own);
        self.scoped(|this| {
            for name in own {
                this.hide(name);
            }
            this.macros.push(this.scopes.len());
            // Parameters are bound from the last to the first, and a default sees those after it.
            let mut defaults = declared.defaults.iter().rev();
            for parameter in declared.args.iter().rev() {
                defaults.next().into_iter().for_each(|default| this.expr(default));
                this.assign(parameter, None);
            }
            this.set("caller");
            this.statements(&declared.body);
            this.macros.pop();
        });
    }

    fn define(&mut self, name: &'t str, span: Span, is_macro: bool) {
        self.defined.push(Definition { name, line: line(span), is_macro });
    }

    /// Resolves the target of an assignment. With `place`, the variable is reported if it is never
    /// used.
    fn assign(&mut self, target: &Expr<'t>, place: Option<Span>) {
        match target {
            Expr::Var(var) => {
                if let Some(place) = place {
                    self.define(var.id, place, false);
                }
                self.set(var.id);
            }
            Expr::List(list) => list.items.iter().for_each(|item| self.assign(item, place)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.assign(item, place)),
            // An attribute of a namespace.
            Expr::GetAttr(attr) => self.expr(&attr.expr),
            _ => {}
        }
    }

    fn expr(&mut self, expr: &Expr<'t>) {
        match expr {
            Expr::Var(var) => self.variable(var.id, var.span()),
            Expr::Const(_) => {}
            Expr::Slice(slice) => {
                self.not_enclosed(&slice.expr);
                let bounds = [&slice.start, &slice.stop, &slice.step];
                bounds.into_iter().flatten().for_each(|bound| self.expr(bound));
            }
            Expr::UnaryOp(operation) => self.expr(&operation.expr),
            Expr::BinOp(operation) => {
                let is_list = |expr: &Expr<'_>| matches!(expr, Expr::List(_) | Expr::Tuple(_));
                if matches!(operation.op, BinOpKind::Mul)
                    && (is_list(&operation.left) || is_list(&operation.right))
                {
                    self.unknown(operation.span(), NameFault::Repeated, "*", &[]);
                }
                self.expr(&operation.left);
                self.expr(&operation.right);
            }
            Expr::Compare(comparison) => {
                self.expr(&comparison.expr);
                comparison.ops.iter().for_each(|operation| self.expr(&operation.expr));
            }
            Expr::IfExpr(choice) => {
                self.expr(&choice.test_expr);
                self.expr(&choice.true_expr);
                choice.false_expr.iter().for_each(|other| self.expr(other));
            }
            Expr::Filter(filter) => self.filter(filter),
            Expr::Test(test) => {
                if !TEMPLATE_TESTS.contains(&test.name) {
                    self.unknown(test.span(), NameFault::Test, test.name, &[]);
                }
                self.expr(&test.expr);
                self.arguments(&test.args);
            }
            Expr::GetAttr(attr) => {
                self.member(expr, attr.span());
                self.expr(&attr.expr);
            }
            Expr::GetItem(item) => {
                self.member(expr, item.span());
                self.expr(&item.expr);
                self.expr(&item.subscript_expr);
            }
            Expr::Call(call) => self.call(call),
            Expr::List(list) => list.items.iter().for_each(|item| self.expr(item)),
            Expr::Tuple(tuple) => tuple.items.iter().for_each(|item| self.expr(item)),
            Expr::Map(map) => map.keys.iter().chain(&map.values).for_each(|item| self.expr(item)),
        }
    }

    fn arguments(&mut self, arguments: &[CallArg<'t>]) {
        for argument in arguments {
            let (CallArg::Pos(expr)
            | CallArg::Kwarg(_, expr)
            | CallArg::PosSplat(expr)
            | CallArg::KwargSplat(expr)) = argument;
            self.expr(expr);
        }
    }

    fn variable(&mut self, name: &'t str, span: Span) {
        self.used.insert(name);
        if self.is_set(name) {
            return;
        }
        if self.names.variables().contains(&name) {
            self.uses_secret = true;
        } else if !TEMPLATE_FUNCTIONS.contains(&name) {
            self.unknown(span, NameFault::Variable, name, self.names.variables());
        }
    }

    /// Whether an expression is this variable of the file, and not one that the template sets.
    fn is_ours(&self, expr: &Expr<'_>, name: &str) -> bool {
        let Expr::Var(var) = expr else { return false };
        var.id == name && !self.is_set(name) && self.names.variables().contains(&name)
    }

    fn member(&mut self, expr: &Expr<'t>, span: Span) {
        let Some((of, name)) = member(expr) else { return };
        if self.is_ours(of, "path") || self.is_ours(of, "version") {
            self.unknown(span, NameFault::Field, name, &[]);
        }
        if matches!(of, Expr::Var(var) if var.id == "loop" && self.is_set("loop"))
            && !LOOP_MEMBERS.contains(&name)
        {
            self.unknown(span, NameFault::Loop, name, &[]);
        }
        let TemplateNames::Secrets(aliases) = self.names else { return };
        if self.is_ours(of, "secrets") && !aliases.contains(&name) {
            self.unknown(span, NameFault::Alias, name, aliases);
        }
        let Some((of, parent)) = member(of) else { return };
        if self.is_ours(of, "secrets") && !SECRET_MEMBERS.contains(&name) {
            self.unknown(span, NameFault::Member, name, &[]);
        }
        let Some((of, _)) = member(of) else { return };
        if self.is_ours(of, "secrets") && matches!(parent, "path" | "version") {
            self.unknown(span, NameFault::Field, name, &[]);
        }
    }

    fn call(&mut self, call: &Spanned<Call<'t>>) {
        match &call.expr {
            Expr::Var(var) => {
                self.used.insert(var.id);
                if !self.is_set(var.id) && !TEMPLATE_FUNCTIONS.contains(&var.id) {
                    self.unknown(var.span(), NameFault::Function, var.id, &[]);
                }
            }
            Expr::GetAttr(attr) => {
                let is_loop = matches!(&attr.expr, Expr::Var(var) if var.id == "loop" && self.is_set("loop"));
                if !(is_loop && LOOP_METHODS.contains(&attr.name)) {
                    self.unknown(attr.span(), NameFault::Method, attr.name, &[]);
                }
                self.expr(&attr.expr);
            }
            other => self.expr(other),
        }
        self.arguments(&call.args);
    }

    fn filter(&mut self, filter: &Spanned<Filter<'t>>) {
        if !TEMPLATE_FILTERS.contains(&filter.name) {
            self.unknown(filter.span(), NameFault::Filter, filter.name, &[]);
        }
        // The argument of these filters is the name of another filter or test.
        match filter.name {
            "map" => self.given_name(filter, 0, NameFault::Filter, TEMPLATE_FILTERS),
            "select" | "reject" => self.given_name(filter, 0, NameFault::Test, TEMPLATE_TESTS),
            "selectattr" | "rejectattr" => self.given_name(filter, 1, NameFault::Test, TEMPLATE_TESTS),
            _ => {}
        }
        filter.expr.iter().for_each(|expr| self.expr(expr));
        self.arguments(&filter.args);
    }

    /// Resolves a filter's argument that is the name of another filter or test.
    fn given_name(
        &mut self,
        filter: &Spanned<Filter<'t>>,
        at: usize,
        fault: fn(Excerpt) -> NameFault,
        known: &[&str],
    ) {
        let is_spread = |argument: &CallArg<'_>| matches!(argument, CallArg::PosSplat(_));
        let named = match filter.args.get(at) {
            _ if filter.args.iter().take(at + 1).any(is_spread) => None,
            None | Some(CallArg::Kwarg(..) | CallArg::KwargSplat(_)) => return,
            Some(CallArg::Pos(name) | CallArg::PosSplat(name)) => text(name),
        };
        match named {
            Some(name) if known.contains(&name) => {}
            Some(name) => self.unknown(filter.span(), fault, name, &[]),
            None => self.unknown(filter.span(), NameFault::Computed, filter.name, &[]),
        }
    }
}
