//! The plan, for people.

use std::fmt::{self, Display, Formatter};

use super::Plan;
use super::conjunct::{Conjunct, Role};

impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for role in [Role::Key, Role::Columns, Role::Residual] {
            section(f, role, self.conjuncts().iter().filter(|conjunct| conjunct.role() == role))?;
        }
        writeln!(f, "{:<10}{}", "split", self.split_reason())?;
        writeln!(f, "{:<10}{}", "cost", self.cost_text())?;
        for (index, warning) in self.warnings().iter().enumerate() {
            writeln!(f, "{:<10}{warning}", if index == 0 { "notes" } else { "" })?;
        }
        Ok(())
    }
}

fn section<'c>(f: &mut Formatter<'_>, role: Role, conjuncts: impl Iterator<Item = &'c Conjunct>) -> fmt::Result {
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
            Role::Residual => format!("up to {} units", conjunct.cost()),
            _ => conjunct.how().to_owned(),
        };
        let line = format!("{title:<10}{text:<width$}  {beside}");
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}
