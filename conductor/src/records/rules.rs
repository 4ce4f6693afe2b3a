//! Inspection rules as documents: what one has to itself is its name. They are read from the leader whenever they are to apply.
//! `drive` hands them to the core, `front/rule` changes them.
use super::document::{Claims, Document, id_of};
use super::{Store, StoreError};
use futures_util::{StreamExt, TryStreamExt, stream};
use ironbeat_common::id::RuleId;
use ironbeat_core::id::{OpId, RuleName};
use ironbeat_core::rules::{Rule, Rules, SCHEMA};

/// Read at once.
const AT_ONCE: usize = 32;

impl Document for Rule {
    const KIND: &'static str = "rule";
    const SCHEMA: u32 = SCHEMA;
    type Id = RuleId;
    /// Nobody follows them: an inspection ends seldom, and then the leader is asked.
    type Entry = ();

    fn id(&self) -> RuleId {
        self.id
    }

    fn schema(&self) -> u32 {
        self.schema
    }

    fn op(&self) -> &OpId {
        &self.op
    }

    fn claims(&self) -> Claims {
        let name = &self.rule.name;
        Claims::from([(name_claim(name), format!("the name {name}"))])
    }

    fn claims_as(&self, other: &Self) -> bool {
        self.rule.name == other.rule.name
    }

    fn entry(&self) {}
}

fn name_claim(name: &RuleName) -> String {
    format!("name.{name}")
}

impl Store {
    /// The rule that has this name, as the leader knows it.
    ///
    /// # Errors
    /// When the store is away, or holds something else under its key.
    pub async fn rule_named(&self, name: &RuleName) -> Result<Option<Rule>, StoreError> {
        self.rules.holder_of(&name_claim(name)).await
    }

    /// In the order in which they apply, and what of them cannot be read.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn all_rules(&self) -> Result<(Vec<Rule>, Vec<StoreError>), StoreError> {
        let keys = self.rules.kv.keys(&format!("{}.>", Rule::KIND)).await?;
        let ids = keys.iter().filter_map(|key| id_of::<Rule>(key));
        let reads: Vec<_> = ids
            .map(|id| {
                let rules = self.rules.clone();
                async move {
                    match rules.load(id).await {
                        Ok(found) => Ok(found.map(|(rule, _)| Ok(rule))),
                        Err(error @ StoreError::Corrupt { .. }) => Ok(Some(Err(error))),
                        Err(error) => Err(error),
                    }
                }
            })
            .collect();
        let read = stream::iter(reads).buffer_unordered(AT_ONCE);
        let found: Vec<Option<Result<Rule, StoreError>>> = read.try_collect().await?;
        let (mut rules, mut unreadable) = (Vec::new(), Vec::new());
        for one in found.into_iter().flatten() {
            match one {
                Ok(rule) => rules.push(rule),
                Err(error) => unreadable.push(error),
            }
        }
        rules.sort_by(|a, b| a.rule.order().cmp(&b.rule.order()));
        Ok((rules, unreadable))
    }

    /// For a decision. One that cannot be read may be one that says no: then nothing is done by rules.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn rules_to_apply(&self) -> Result<Rules, StoreError> {
        let (rules, unreadable) = self.all_rules().await?;
        Ok(Rules {
            all: rules.into_iter().map(|rule| rule.rule).collect(),
            refused: unreadable.first().map(ToString::to_string),
        })
    }
}
