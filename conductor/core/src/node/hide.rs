//! A node as others than workers may see it: without the queries of its image's URL, which may be a signature.
//! Records of before have them; of later ones they lie beside the record, sealed.
use super::instance::ImageSource;
use super::step::{AgentStep, Step};
use super::{Node, State};

impl Node {
    /// Whether [`Self::without_queries`] would change it: only a record of before.
    pub fn has_queries(&self) -> bool {
        let instance = self.instance.as_ref().map(|it| &it.image.source);
        let steps = self
            .job()
            .map(|job| job.steps.as_slice())
            .unwrap_or_default();
        let sources = steps.iter().filter_map(|step| match step {
            Step::Agent(AgentStep::WriteImage(write)) => Some(&write.source),
            Step::Agent(AgentStep::Rescue(system)) => Some(&system.source),
            Step::Bmc(_) | Step::AwaitAgent | Step::Agent(_) | Step::Hold | Step::Wait { .. } => {
                None
            }
        });
        let mut sources = instance.into_iter().chain(sources);
        sources.any(|source| *source != source.without_query())
    }

    #[must_use]
    pub fn without_queries(mut self) -> Self {
        if let Some(instance) = &mut self.instance {
            hide(&mut instance.image.source);
        }
        if let State::Busy(job) = &mut self.state {
            for step in &mut job.steps {
                match step {
                    Step::Agent(AgentStep::WriteImage(write)) => hide(&mut write.source),
                    Step::Agent(AgentStep::Rescue(system)) => hide(&mut system.source),
                    Step::Bmc(_)
                    | Step::AwaitAgent
                    | Step::Agent(_)
                    | Step::Hold
                    | Step::Wait { .. } => {}
                }
            }
        }
        self
    }
}

fn hide(source: &mut ImageSource) {
    *source = source.without_query();
}
