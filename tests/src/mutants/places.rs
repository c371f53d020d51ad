//! Where in a source file something can be changed, and how far each such thing reaches.

use std::ops::Range;

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::list::Genre;

/// What a mutant changes, in bytes of the file.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// The body of a function, with its braces.
    Body { block: Range<usize> },
    /// `left op right`.
    Binary { whole: Range<usize>, left: Range<usize>, right: Range<usize>, operator: Range<usize> },
    /// `op inner`.
    Unary { whole: Range<usize>, inner: Range<usize> },
    /// An arm that has a guard.
    Guard { guard: Range<usize> },
    /// An arm that has none, which ends before its arrow.
    Arm { arrow: usize },
    /// The value of a field in front of a `..base`.
    Field { name: String, value: Range<usize>, base: Range<usize> },
    /// A `match`, of which arms may be gone.
    Match { whole: Range<usize> },
    /// The word `const` in front of a function.
    Const { word: Range<usize> },
}

impl Place {
    /// All that is written anew if something changes here.
    pub(super) fn reach(&self) -> Range<usize> {
        match self {
            Self::Body { block } => block.clone(),
            Self::Binary { whole, .. } | Self::Unary { whole, .. } | Self::Match { whole } => whole.clone(),
            Self::Guard { guard } => guard.clone(),
            Self::Arm { arrow } => *arrow..*arrow,
            Self::Field { value, .. } => value.clone(),
            Self::Const { word } => word.clone(),
        }
    }
}

/// The places of one file.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// Where each begins, as `cargo mutants` tells it, except for functions.
    found: Vec<(Genre, usize, Place)>,
    /// The bodies of functions, with their braces.
    functions: Vec<Range<usize>>,
    matches: Vec<Range<usize>>,
    /// Where the operators of chains with `let` are.
    chains: Vec<usize>,
    /// The functions that are `const`, by name.
    constants: Vec<(String, Range<usize>)>,
}

impl Places {
    pub(super) fn of(source: &str) -> syn::Result<Self> {
        let mut places = Self::default();
        places.visit_file(&syn::parse_file(source)?);
        Ok(places)
    }

    /// The place of a mutant of that kind whose change begins at `offset`.
    pub(super) fn at(&self, genre: Genre, offset: usize) -> Option<Place> {
        if genre == Genre::FnValue {
            let around = self.functions.iter().filter(|block| block.contains(&offset));
            return around.min_by_key(|block| block.len()).map(|block| Place::Body { block: block.clone() });
        }
        self.found
            .iter()
            .find(|(kind, at, _)| *kind == genre && *at == offset)
            .map(|(.., place)| place.clone())
    }

    /// Whether an operator of a chain with `let` is there, which can only be `&&`.
    pub(super) fn is_chain(&self, offset: usize) -> bool {
        self.chains.contains(&offset)
    }

    /// The `match` an arm is in, by what is changed for that arm.
    pub(super) fn match_around(&self, arm: &Place) -> Option<Place> {
        let at = arm.reach().start;
        let around = self.matches.iter().filter(|whole| whole.contains(&at));
        around.min_by_key(|whole| whole.len()).map(|whole| Place::Match { whole: whole.clone() })
    }

    /// Where `const` stands in front of a function, and the function's name.
    pub(super) fn constants(&self) -> impl Iterator<Item = (&str, Place)> {
        self.constants.iter().map(|(name, word)| (name.as_str(), Place::Const { word: word.clone() }))
    }

    fn function(&mut self, signature: &syn::Signature, body: &syn::Block) {
        self.functions.push(bytes(body.span()));
        if let Some(constness) = &signature.constness {
            self.constants.push((signature.ident.to_string(), bytes(constness.span())));
        }
    }
}

impl<'ast> Visit<'ast> for Places {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(&item.sig, body);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        // The operands of a chain with `let` cannot be put in parentheses, and it knows no other operator.
        if is_let(&expr.left) || is_let(&expr.right) {
            self.chains.push(bytes(expr.op.span()).start);
        } else {
            let (left, right) = (bytes(expr.left.span()), bytes(expr.right.span()));
            let operator = bytes(expr.op.span());
            let place =
                Place::Binary { whole: left.start..right.end, left, right, operator: operator.clone() };
            self.found.push((Genre::BinaryOperator, operator.start, place));
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        let (operator, inner) = (bytes(expr.op.span()), bytes(expr.expr.span()));
        let place = Place::Unary { whole: operator.start..inner.end, inner };
        self.found.push((Genre::UnaryOperator, operator.start, place));
        visit::visit_expr_unary(self, expr);
    }

    fn visit_expr_match(&mut self, expr: &'ast syn::ExprMatch) {
        self.matches.push(bytes(expr.span()));
        visit::visit_expr_match(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let start = bytes(arm.pat.span()).start;
        if let syn::Pat::Guard(pattern) = &arm.pat {
            let guard = bytes(pattern.guard.span());
            self.found.push((Genre::MatchArmGuard, guard.start, Place::Guard { guard: guard.clone() }));
            self.found.push((Genre::MatchArm, start, Place::Guard { guard }));
        } else {
            let arrow = bytes(arm.fat_arrow_token.span()).start;
            self.found.push((Genre::MatchArm, start, Place::Arm { arrow }));
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, expr: &'ast syn::ExprStruct) {
        for (base, field) in
            expr.rest.iter().flat_map(|base| expr.fields.iter().map(move |field| (base, field)))
        {
            if let syn::Member::Named(name) = &field.member
                && field.colon_token.is_some()
            {
                let (base, value) = (bytes(base.span()), bytes(field.expr.span()));
                let place = Place::Field { name: name.to_string(), value, base };
                self.found.push((Genre::StructField, bytes(field.span()).start, place));
            }
        }
        visit::visit_expr_struct(self, expr);
    }
}

fn bytes(span: Span) -> Range<usize> {
    span.byte_range()
}

fn is_let(expr: &syn::Expr) -> bool {
    match expr {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => is_let(&binary.left) || is_let(&binary.right),
        _ => false,
    }
}
