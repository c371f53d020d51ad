//! Inputs to begin with for the targets of leases, made of the published vectors.

use serde_json::Value;

use super::agents::GENEROUS;
use super::lease_text::capability;

type Seeds = Vec<(String, Vec<u8>)>;

/// Choices that make targets and narrower patterns.
const CHOICES: &[u8] = b"\x00\x01\x03\x05\x02\x06\x04\x01\x01\x00\x07";

/// Each operation with each pattern of its lease, and each pattern with a target made of it.
pub(super) fn matches(vectors: &str) -> Seeds {
    let operations = at(vectors, "lease").flat_map(|(name, input)| {
        let (operation, target) = (text(&input["op"]), text(&input["target"]));
        let patterns = input["lease"][operation.as_str()].as_array().cloned().unwrap_or_default();
        let target = target.replace('\n', "\t");
        let of = move |(index, pattern): (usize, Value)| {
            Some((format!("{name}-{index}"), lines(&operation, &text(&pattern), &target)?))
        };
        patterns.into_iter().enumerate().filter_map(of)
    });
    let patterns = at(vectors, "pattern").filter_map(|(name, input)| {
        Some((name, lines(&text(&input["namespace"]), &text(&input["pattern"]), "")?))
    });
    operations.chain(patterns).chain(star_for_nothing()).collect()
}

/// Each pattern of a child with each of its parent's.
pub(super) fn subsets(vectors: &str) -> Seeds {
    let pairs = at(vectors, "subset").flat_map(|(name, input)| {
        let namespace = text(&input["namespace"]);
        let all = |name: &str| input[name].as_array().cloned().unwrap_or_default();
        let (parents, children) = (all("parent"), all("child"));
        let pairs = parents.iter().flat_map(|parent| children.iter().map(move |child| (parent, child)));
        let seeds = pairs.enumerate().filter_map(|(index, (parent, child))| {
            Some((format!("{name}-{index}"), lines(&namespace, &text(parent), &text(child))?))
        });
        seeds.collect::<Seeds>()
    });
    pairs.chain(star_for_nothing()).collect()
}

/// The targets of operations whose name begins so.
pub(super) fn targets(vectors: &str, begin: &str) -> Seeds {
    at(vectors, "lease")
        .filter(|(_, input)| text(&input["op"]).starts_with(begin))
        .map(|(name, input)| (name, text(&input["target"]).into_bytes()))
        .collect()
}

/// Amounts, budgets and costs.
pub(super) fn amounts(vectors: &str) -> Seeds {
    let budgets = at(vectors, "amount").flat_map(|(name, input)| {
        let budget = text(&input["amount"]);
        let amount = budget.split_once(':').map_or("", |(_, amount)| amount).to_owned();
        [(name.clone(), budget.into_bytes()), (format!("{name}-alone"), amount.into_bytes())]
    });
    let costs = at(vectors, "charge").filter_map(|(name, _)| {
        let line = vectors.lines().find(|line| line.contains(&format!("\"{name}\"")))?;
        let input: Value = serde_json::from_str(line).ok()?;
        let cost = input["input"].as_str()?.split_once("\"value\":")?.1;
        Some((name, cost.trim_end_matches('}').trim().as_bytes().to_vec()))
    });
    budgets.chain(costs).collect()
}

/// What submits ask for, what is decided on, and decisions.
pub(super) fn leases(envelopes: &str, vectors: &str) -> Seeds {
    let submits = envelopes.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let payload = &line["envelope"]["payload"];
        let request = payload["lease_request"].as_object()?;
        let constraints = &payload["lease_constraints"];
        Some((text(&line["name"]), format!("\0{}\n{constraints}", Value::from(request.clone())).into_bytes()))
    });
    let others = at(vectors, "lease").map(|(name, input)| {
        (name, format!("\0{}\n{{\"expires_at\":\"2026-09-01T00:00:00Z\"}}", input["lease"]).into_bytes())
    });
    let made = (0..24_u8).map(|seed| {
        let decisions = (0..160_u8).map(|at| at.wrapping_mul(seed.wrapping_mul(14) | 3) ^ (at >> 2) ^ seed);
        (format!("decisions-{seed}"), std::iter::once(1).chain(decisions).collect())
    });
    submits.chain(others).chain(made).collect()
}

/// Submits with leases, the ways of their agents, and what a deployment says to each, in several deployments.
pub(super) fn conversations() -> Seeds {
    let submit = |id: u8, lease: &str, constraints: &str| {
        let payload = format!(
            r#"{{"agent":"a","input":{{}},"lease_request":{lease},"lease_constraints":{constraints},"idempotency_key":"l{id}"}}"#
        );
        format!(
            r#"{{"arcp":"1.1","id":"s{id}","type":"job.submit","session_id":"$SESSION","payload":{payload}}}"#
        )
    };
    let talk = |flags: u8| {
        let mut input = vec![31, flags, b'\n'];
        let leases =
            [GENEROUS, r#"{"cost.budget":["USD:1"]}"#, r#"{"tool.call":["**"],"agent.delegate":["*"]}"#];
        for (id, lease) in (0..).zip(leases) {
            let end = if id == flags % 3 { r#"{"expires_at":"$SOON"}"# } else { "null" };
            // The vectors' lines have no breaks inside.
            input.extend(submit(id, &lease.replace('\n', " "), end).into_bytes());
            input.push(b'\n');
            for step in 0..24_u8 {
                let action = if step == 23 { 7 } else { (step ^ id) % 7 };
                let acts = [18, (step / 3) & flags, action, step ^ flags, step % 7, step % 3 + 1, step];
                input.extend(acts.map(|byte| if byte == b'\n' { 0 } else { byte }));
                input.extend([b'\n', [19, 20, 19, 22, 19, 4][usize::from(step) % 6], step % 8 + 11, b'\n']);
            }
        }
        (format!("leases-{flags}"), input)
    };
    let others = [
        ("leases-by-name".to_owned(), by_name()),
        ("leases-exhausted-by-a-child".to_owned(), exhausted()),
        ("leases-spent-meanwhile".to_owned(), spent_meanwhile()),
    ];
    (0..32).map(talk).chain(others).collect()
}

/// A child spends the last of what it shares, and asks for more.
fn exhausted() -> Vec<u8> {
    let lease = r#"{"tool.call":["search.*"],"agent.delegate":["*"],"cost.budget":["USD:1"]}"#;
    let payload = format!(r#"{{"agent":"a","input":1,"lease_request":{lease}}}"#);
    let submit = format!(r#"{{"arcp":"1.1","id":"e","type":"job.submit","payload":{payload}}}"#);
    let acts: [&[u8]; 4] = [
        b"\n\x12\0\x05\x01\x09\x01\0\0\0",
        b"\n\x12\0\x01\x02\0",
        b"\n\x12\0\x03\x01\0\0",
        b"\n\x12\0\x01\x02\0\n\x12\x01\x01\x02\0",
    ];
    [submit.as_bytes(), &acts.concat()].concat()
}

/// While a child waits for its credential, its parent spends what the child was to have.
fn spent_meanwhile() -> Vec<u8> {
    let acts: [&[u8]; 4] = [
        b"\x14\n\x12\0\x05\x02\x09\x01\0\0\0",
        b"\n\x12\0\x03\x01\0\0\n\x12\0\x03\x02\0\0\n\x12\0\x03\x01\0\0",
        b"\n\x13\x07\n\x12\0\x03\x01\0\0",
        b"\n\x12\0\x05\x03\x09\x01\0\0\0\n\x12\0\x03\x08\0\0\n\x13\x07",
    ];
    acts.concat()
}

/// Jobs under leases over a link: children that spend, and that end before their parents, before and behind a break.
pub(super) fn links() -> Seeds {
    let hello: &[u8] = &[5, 0, 3];
    let (delivered, submit): (&[u8], &[u8]) = (&[0, 0, 3, 3, 3], &[6, 2, 0, 3]);
    let (delegate, shared): (&[u8], &[u8]) = (&[7, 0, 5, 2, 9, 1, 0, 0, 0], &[7, 0, 5, 1, 9, 1, 0, 0, 0]);
    let (charge, finish, cut): (&[u8], &[u8], &[u8]) =
        (&[7, 0, 3, 0, 0, 0], &[8, 0, 1], &[10, 0, 9, 60, 5, 0, 3]);
    let talks = [
        [hello, submit, delegate, charge, finish, delivered, charge, finish].concat(),
        [hello, submit, shared, charge, finish, delegate, charge, cut, delivered, finish].concat(),
        [hello, submit, cut, delegate, delegate, charge, cut, finish, charge, finish, delivered].concat(),
        [hello, submit, submit, shared, shared, charge, charge, cut, finish, delivered, delegate, charge]
            .concat(),
    ];
    let begins: [&[u8]; 2] = [&[0, 1], &[1, 0, 1]];
    let all = talks.iter().enumerate().flat_map(|(index, talk)| {
        begins.map(|begin| (format!("leases-{index}-{}", begin[0]), [begin, talk].concat()))
    });
    all.collect()
}

/// A client that asks for capabilities by their names (protocol §12.4).
fn by_name() -> Vec<u8> {
    let features = r#"["heartbeat","cost.budget","lease_expires_at","model.use","subscribe"]"#;
    let hello = format!(
        r#"{{"arcp":"1.1","id":"h","type":"session.hello","payload":{{"client_name":"x","auth":{{"token":"mallory"}},"capabilities":{{"features":{features}}}}}}}"#
    );
    let submits = [
        r#"{"capabilities":["tool.call","agent.delegate:a","elsewhere"],"cost.budget":["USD:2"]}"#,
        r#"{"capabilities":["model.use"],"model.use":["fast/*"],"expires_at":"$SOON"}"#,
        r#"{"capabilities":["net.fetch"],"fs.read":["/w/**"],"cost.budget":["USD:7"]}"#,
    ];
    let mut input = [b"\0\n", hello.as_bytes(), b"\n"].concat();
    for (id, lease) in submits.into_iter().enumerate() {
        let payload = format!(
            r#"{{"agent":"a","input":1,"lease_request":{lease},"lease_constraints":{{"max_budget":["USD:5"]}}}}"#
        );
        input.extend(
            format!(r#"{{"arcp":"1.1","id":"b{id}","type":"job.submit","payload":{payload}}}"#).into_bytes(),
        );
        input.extend(b"\n\x12\0\x05\x02\x01\x01\n\x12\0\x03\x01\0\0\n\x12\x01\x07\n");
    }
    input
}

/// A last segment that is empty, which `*` does not stand for.
fn star_for_nothing() -> Option<(String, Vec<u8>)> {
    Some(("star-for-nothing".to_owned(), lines("net.fetch", "http://a/x/*", "http://a/x/")?))
}

/// Names and inputs of the vectors that this rule judges.
fn at<'a>(vectors: &'a str, place: &'a str) -> impl Iterator<Item = (String, Value)> + 'a {
    vectors.lines().filter_map(move |line| {
        let line: Value = serde_json::from_str(line).ok()?;
        let input = serde_json::from_str(line["input"].as_str()?).ok()?;
        (line["at"] == place).then(|| (text(&line["name"]), input))
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A namespace and two lines of its texts, and choices.
fn lines(namespace: &str, one: &str, other: &str) -> Option<Vec<u8>> {
    let kind = (0..7).find(|kind| {
        let known = capability(*kind);
        known.as_str() == namespace || (*kind == 6 && namespace.starts_with("x-vendor."))
    })?;
    Some([&[kind], one.as_bytes(), b"\n", other.as_bytes(), b"\n", CHOICES].concat())
}
