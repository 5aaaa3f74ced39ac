//! Tests of merging: what each layer may say, which wins, and how a wrong line is named.

use super::*;

const GOOD: &str = "deployment = \"db.example.org\"\ntenant = \"main\"\nlabel = \"2026\"\n\
                    \n[log]\ncheckpoint_every_ms = 50\n";

fn run(text: &str, env: &[(&str, &str)], flags: &[Flag]) -> Result<Resolved, Vec<String>> {
    let env: Vec<(String, String)> = env
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    resolve(
        Some((Path::new("custody.toml"), text)),
        Path::new("d"),
        &env,
        flags,
    )
    .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn refused(text: &str, env: &[(&str, &str)], expected: &str) {
    assert!(run(GOOD, &[], &[]).is_ok(), "the twin must pass");
    let errors = run(text, env, &[]).unwrap_err();
    assert_eq!(errors, [expected]);
}

#[test]
fn an_unknown_key_is_named_with_file_line_and_the_nearest() {
    refused(
        &GOOD.replace("checkpoint_every_ms", "checkpoint_evry_ms"),
        &[],
        "custody.toml:6: unknown key \"log.checkpoint_evry_ms\"; the nearest known key is \
         \"log.checkpoint_every_ms\"",
    );
    refused(
        &GOOD.replace("[log]", "listen = \"127.0.0.1:1\"\n[log]"),
        &[],
        "custody.toml:5: unknown key \"listen\"; the nearest known key is \"http.listen\"",
    );
    refused(
        &GOOD.replace("[log]", "[lgo]"),
        &[],
        "custody.toml:5: unknown key \"lgo\"; the nearest known key is \"log\"",
    );
    refused(
        GOOD,
        &[("CUSTODY__LOG__CHECKPOINT_EVERY", "20")],
        "environment CUSTODY__LOG__CHECKPOINT_EVERY: unknown key \"log.checkpoint_every\"; the \
         nearest known key is \"log.checkpoint_every_ms\"",
    );
}

#[test]
fn a_wrong_type_is_named() {
    refused(
        &GOOD.replace("= 50", "= \"50\""),
        &[],
        "custody.toml:6: log.checkpoint_every_ms must be a whole number from 0, not \"50\"",
    );
    refused(
        &GOOD.replace("= 50", "= -50"),
        &[],
        "custody.toml:6: log.checkpoint_every_ms must be a whole number from 0, not -50",
    );
    refused(
        &GOOD.replace("\"main\"", "3"),
        &[],
        "custody.toml:2: tenant must be text in quotes, not 3",
    );
    refused(
        &GOOD.replace("[log]\ncheckpoint_every_ms = 50", "log = 3"),
        &[],
        "custody.toml:5: log must be a table of keys, not 3",
    );
    refused(
        GOOD,
        &[("CUSTODY__LOG__CARD_FIRST6", "yes")],
        "environment CUSTODY__LOG__CARD_FIRST6: log.card_first6 must be true or false, not \"yes\"",
    );
}

const KAFKA_TEXT: &str = "\n[bus.kafka]\nbrokers = \"127.0.0.1:9092\"\n";

#[test]
fn the_bus_is_a_word_or_a_table() {
    let word = |word: &str| GOOD.replace("[log]", &format!("bus = {word}\n[log]"));
    let expected = "custody.toml:5: bus must be \"embedded\" or a table [bus.kafka], not";
    refused(&word("\"kafka\""), &[], &format!("{expected} \"kafka\""));
    refused(&word("3"), &[], &format!("{expected} 3"));
    refused(
        &format!("{GOOD}[bus]\n"),
        &[],
        "custody.toml:7: bus must be \"embedded\" or a table [bus.kafka], not a value of type table",
    );
    refused(
        &format!("{GOOD}[bus.kafka]\n"),
        &[],
        "custody.toml:7: bus.kafka.brokers is not set: give hosts and ports, HOST:PORT,HOST:PORT",
    );
    refused(
        &format!("{GOOD}{KAFKA_TEXT}[bus.kafka.tls]\nca = \"\"\n"),
        &[],
        "custody.toml:11: bus.kafka.tls.ca is not set: give the file of the brokers' authority",
    );
    refused(
        &format!("{GOOD}[bus.kafka]\nbroker = \"127.0.0.1:9092\"\n"),
        &[],
        "custody.toml:8: unknown key \"bus.kafka.broker\"; the nearest known key is \
         \"bus.kafka.brokers\"",
    );
    refused(
        &format!("{GOOD}{KAFKA_TEXT}[[bus.kafka.foreign]]\ntopik = \"a\"\n"),
        &[],
        "custody.toml:10: unknown key \"bus.kafka.foreign.topik\"; the nearest known key is \
         \"bus.kafka.foreign.topic\"",
    );
    let embedded = run(&word("\"embedded\""), &[], &[]).unwrap();
    assert_eq!(embedded.config.kafka, None);
    let kafka = run(&format!("{GOOD}{KAFKA_TEXT}"), &[], &[]).unwrap();
    assert!(kafka.config.kafka.is_some());
    assert!(!kafka.keys.contains_key("bus"), "its table stands there");
    assert_eq!(kafka.keys["bus.kafka.partitions"].1, Source::Default);
}

#[test]
fn what_is_set_later_decides_which_bus_it_is() {
    let file = format!("{GOOD}{KAFKA_TEXT}");
    let away = run(&file, &[("CUSTODY__BUS", "embedded")], &[]).unwrap();
    assert_eq!(away.config.kafka, None);
    assert!(!away.keys.keys().any(|key| key.starts_with("bus.")));
    let env = [("CUSTODY__BUS__KAFKA__BROKERS", "127.0.0.1:1")];
    let there = run(
        &GOOD.replace("[log]", "bus = \"embedded\"\n[log]"),
        &env,
        &[],
    )
    .unwrap();
    assert!(there.config.kafka.is_some());
}

#[test]
fn a_broken_line_is_named() {
    let errors = run(&GOOD.replace("= 50", "="), &[], &[]).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].starts_with("custody.toml:6: not TOML: "),
        "{errors:?}"
    );
    assert!(!errors[0].contains('\n'));
    let twice = format!("{GOOD}checkpoint_every_ms = 60\n");
    let errors = run(&twice, &[], &[]).unwrap_err();
    assert!(
        errors[0].starts_with("custody.toml:7: not TOML: "),
        "{errors:?}"
    );
}

#[test]
fn an_illegal_value_is_named_where_it_was_set() {
    refused(
        &GOOD.replace("= 50", "= 5"),
        &[],
        "custody.toml:6: log.checkpoint_every_ms is 5; it must be 20 to 3600000",
    );
    refused(
        GOOD,
        &[("CUSTODY__LOG__CHECKPOINT_EVERY_MS", "5")],
        "environment CUSTODY__LOG__CHECKPOINT_EVERY_MS: log.checkpoint_every_ms is 5; it must \
         be 20 to 3600000",
    );
}

#[test]
fn every_fault_is_found_in_one_run() {
    let errors = run("tenat = 1\nlabel = 2\n", &[("CUSTODY__X", "1")], &[]).unwrap_err();
    assert_eq!(errors.len(), 3, "{errors:?}");
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let key = "log.checkpoint_every_ms";
    let env = [("CUSTODY__LOG__CHECKPOINT_EVERY_MS", "60")];
    let flag = Flag {
        name: "--every",
        key,
        value: Value::Integer(70),
    };
    let value = |resolved: &Resolved| resolved.config.log.checkpoint_every.as_millis();
    let origin = |resolved: &Resolved| resolved.keys[key].1.to_string();
    let without = run(&GOOD.replace("checkpoint_every_ms = 50\n", ""), &[], &[]).unwrap();
    let file = run(GOOD, &[], &[]).unwrap();
    let with_env = run(GOOD, &env, &[]).unwrap();
    let with_flag = run(GOOD, &env, &[flag]).unwrap();
    for (resolved, expected, source) in [
        (without, 1_000, "default"),
        (file, 50, "custody.toml:6"),
        (
            with_env,
            60,
            "environment CUSTODY__LOG__CHECKPOINT_EVERY_MS",
        ),
        (with_flag, 70, "flag --every"),
    ] {
        assert_eq!(value(&resolved), expected);
        assert_eq!(origin(&resolved), source);
    }
}

#[test]
fn every_key_of_the_settings_can_be_set() {
    let known = Known::new();
    assert!(known.leaves.len() > 12);
    for (key, default) in &known.leaves {
        let name = format!("{ENV_PREFIX}{}", key.to_uppercase().replace('.', "__"));
        // A list of tables stands in the file, and the keys of Kafka beside its brokers.
        if matches!(default, Value::Array(_)) || default == &Value::String(String::new()) {
            continue;
        }
        let file = if is_below(key, KAFKA) {
            format!("{GOOD}{KAFKA_TEXT}")
        } else {
            GOOD.to_owned()
        };
        let text = match default {
            Value::String(text) if text.is_empty() => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let resolved = run(&file, &[(&name, &text)], &[]).unwrap();
        assert_eq!(resolved.keys[key].1, Source::Env { name });
    }
}
