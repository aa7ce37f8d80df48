//! The plan, for people.

use std::fmt::{self, Display, Formatter};

use super::conjunct::{Conjunct, ConjunctRole};
use super::{Needed, Plan, Warning};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let notes: Vec<String> = self.warnings().iter().map(Warning::to_string).collect();
        self.with_notes(&notes).fmt(f)
    }
}

impl Plan {
    /// The plan with these notes instead of its own warnings: those of a pool say more.
    pub fn with_notes<'a>(&'a self, notes: &'a [String]) -> impl Display + 'a {
        Noted { plan: self, notes }
    }
}

struct Noted<'a> {
    plan: &'a Plan,
    notes: &'a [String],
}

impl Display for Noted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for role in [ConjunctRole::Key, ConjunctRole::Columns, ConjunctRole::Residual] {
            section(f, role, self.plan.conjuncts().iter().filter(|conjunct| conjunct.role() == role))?;
        }
        writeln!(f, "{:<10}{}", "split", self.plan.split_reason())?;
        if !self.plan.ordered().is_empty() {
            writeln!(
                f,
                "{:<10}by {}, where many wait and few of them are wanted",
                "order",
                self.plan.order().join(", ")
            )?;
        }
        writeln!(f, "{:<10}{}", "cost", self.plan.cost_text())?;
        if !self.plan.needed().is_empty() {
            let needed: Vec<String> = self.plan.needed().iter().map(Needed::to_string).collect();
            writeln!(f, "{:<10}{}: an element without never matches", "needs", needed.join(", "))?;
        }
        self.notes
            .iter()
            .enumerate()
            .try_for_each(|(index, note)| writeln!(f, "{:<10}{note}", if index == 0 { "notes" } else { "" }))
    }
}

fn section<'c>(
    f: &mut Formatter<'_>,
    role: ConjunctRole,
    conjuncts: impl Iterator<Item = &'c Conjunct>,
) -> fmt::Result {
    /// Longer texts do not push the words beside them further right.
    const WIDTH_MAX: usize = 56;
    let lines: Vec<(String, &Conjunct)> = conjuncts.map(|conjunct| (conjunct.text(), conjunct)).collect();
    let width =
        lines.iter().map(|(text, _)| text.chars().count()).filter(|width| *width <= WIDTH_MAX).max().unwrap_or(0);
    if lines.is_empty() {
        return writeln!(f, "{role:<10}none");
    }
    for (index, (text, conjunct)) in lines.iter().enumerate() {
        let title = if index == 0 { role.to_string() } else { String::new() };
        let beside = match role {
            ConjunctRole::Residual => format!("up to {} units", conjunct.cost()),
            _ => conjunct.how().to_owned(),
        };
        let line = format!("{title:<10}{text:<width$}  {beside}");
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}
