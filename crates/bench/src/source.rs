//! What is submitted, by position from 0, and the one place where batches are made of it.

use bytes::Bytes;
use serde::Serialize;

use super::workload::{Elements, Workload};
use dovetail::client::{Answer, ClientError, Columns, SubmitStream};
use dovetail::pb;

/// About how many bytes of key, attributes and payload an element has whose payload's size is not given.
const ELEMENT_BYTES: usize = 100;

/// How a batch is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A column for each attribute.
    #[default]
    Columns,
    /// A map of attributes for each element.
    Rows,
    /// Each element by a call of its own, `SubmitOne`, with a map of attributes; the next once it was answered.
    One,
}

/// What is submitted.
#[derive(Clone, Debug)]
pub enum RowSource {
    /// A workload; keys are positions from 1.
    Generated {
        /// Its elements.
        elements: Elements,
        /// What each carries.
        payload: Bytes,
    },
    /// Elements and a pool from files.
    Described {
        /// The pool; its name is given up for one of the run.
        definition: pb::PoolDefinition,
        /// The elements.
        submissions: Vec<pb::Submission>,
    },
}

impl RowSource {
    /// The first `n` elements of a workload. Without a size for the payload, one that fills the element to 100 bytes.
    #[must_use]
    pub fn generated(workload: Workload, n: usize, payload_bytes: Option<usize>) -> RowSource {
        let key_bytes = n.to_string().len();
        let filling = ELEMENT_BYTES.saturating_sub(key_bytes + 8 * workload.columns().len());
        let payload = Bytes::from(vec![b'.'; payload_bytes.unwrap_or(filling)]);
        RowSource::Generated { elements: workload.elements(n), payload }
    }

    /// How many elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            RowSource::Generated { elements, .. } => elements.len(),
            RowSource::Described { submissions, .. } => submissions.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of each payload; none where elements have each their own.
    #[must_use]
    pub fn payload_bytes(&self) -> Option<usize> {
        match self {
            RowSource::Generated { payload, .. } => Some(payload.len()),
            RowSource::Described { .. } => None,
        }
    }

    /// The pool, under a name of its own.
    #[must_use]
    pub fn pool(&self, name: &str) -> pb::PoolDefinition {
        match self {
            RowSource::Generated { elements, .. } => elements.workload().pool(name, elements.len()),
            RowSource::Described { definition, .. } => {
                pb::PoolDefinition { name: name.to_owned(), ..definition.clone() }
            }
        }
    }

    /// Makes a batch of the elements at these positions, as columns or as rows with an attribute map each, and sends
    /// it. The answer is that of an earlier batch, if room for this one had to be waited for.
    ///
    /// # Errors
    /// When the stream broke.
    pub async fn send(
        &self,
        stream: &mut SubmitStream,
        form: Form,
        positions: impl Iterator<Item = usize> + Clone,
    ) -> Result<Option<Answer>, ClientError> {
        let rows = || positions.clone().map(|position| self.submission(position)).collect();
        match (form, self) {
            (Form::Rows | Form::One, _) => stream.send_rows(rows()).await,
            // Elements from files come as rows; the client makes columns of them.
            (Form::Columns, RowSource::Described { .. }) => stream.send(rows()).await,
            (Form::Columns, RowSource::Generated { elements, payload }) => {
                let keys = positions.clone().map(|position| (position + 1).to_string());
                let batch = Columns::new(keys).payloads(positions.clone().map(|_| payload));
                stream.send_columns(elements.columns(batch, &positions)).await
            }
        }
    }

    /// One element, with a map of attributes.
    #[must_use]
    pub fn submission(&self, position: usize) -> pb::Submission {
        match self {
            RowSource::Generated { elements, payload } => pb::Submission {
                key: (position + 1).to_string(),
                attributes: elements.attributes(position),
                payload: payload.clone(),
                ..pb::Submission::default()
            },
            RowSource::Described { submissions, .. } => submissions[position].clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(source: &RowSource) -> (String, usize, usize) {
        let pb::Submission { key, attributes, payload, .. } = source.submission(0);
        (key, attributes.len(), payload.len())
    }

    #[test]
    fn an_element_is_filled_to_a_hundred_bytes_unless_its_payload_has_a_size() {
        assert_eq!(first(&RowSource::generated(Workload::W2, 1000, None)), ("1".to_owned(), 2, 100 - 4 - 16));
        assert_eq!(first(&RowSource::generated(Workload::W2, 1000, Some(7))), ("1".to_owned(), 2, 7));
        assert_eq!(first(&RowSource::generated(Workload::W3, 10, Some(0))), ("1".to_owned(), 0, 0));
    }

    #[test]
    fn a_described_pool_keeps_all_but_its_name() {
        let definition = pb::PoolDefinition { name: "duel".into(), rule: "true".into(), ..Default::default() };
        let pool = RowSource::Described { definition, submissions: Vec::new() }.pool("bench-1");
        assert_eq!((pool.name.as_str(), pool.rule.as_str()), ("bench-1", "true"));
    }
}
