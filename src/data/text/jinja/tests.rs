use super::*;

fn template(source: &str) -> ChatTemplate {
    let origin = TemplateOrigin::Given;
    ChatTemplate { name: DEFAULT.to_owned(), source: source.to_owned(), origin }
}

fn conversation(messages: &[(&str, &str)], prompts_reply: bool) -> Conversation {
    let owned = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
    let special = [("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")];
    Conversation {
        messages: messages.iter().map(owned).collect(),
        special: special.iter().map(owned).collect(),
        prompts_reply,
    }
}

fn rendered(source: &str, messages: &[(&str, &str)]) -> Result<String> {
    template(source).render(conversation(messages, true))
}

fn message(source: &str, messages: &[(&str, &str)]) -> String {
    rendered(source, messages).unwrap_err().to_string()
}

const ONE: [(&str, &str); 1] = [("user", "Hi")];
const TURNS: [(&str, &str); 3] = [("user", " Hi "), ("assistant", "Yes?"), ("user", "Why\n")];
const SYSTEM: [(&str, &str); 2] = [("system", "Be brief."), ("user", "Hi")];

/// Llama 3: a header per turn, texts trimmed, the first token within the first turn's text.
const LLAMA_3: &str = r#"{% for turn in messages %}
{% set text = '<|start_header_id|>' + turn['role'] + '<|end_header_id|>\n\n' + turn['content'] | trim + '<|eot_id|>' %}
{% if loop.index0 == 0 %}{% set text = bos_token + text %}{% endif %}
{{ text }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"#;

#[test]
fn llama_3() {
    let expected = "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>\
                    <|start_header_id|>assistant<|end_header_id|>\n\nYes?<|eot_id|>\
                    <|start_header_id|>user<|end_header_id|>\n\nWhy<|eot_id|>\
                    <|start_header_id|>assistant<|end_header_id|>\n\n";
    assert_eq!(rendered(LLAMA_3, &TURNS).unwrap(), expected);
    let without = template(LLAMA_3).render(conversation(&ONE, false)).unwrap();
    assert_eq!(without, "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>");
}

/// Gemma: no system role, turns that alternate, the role `model`.
const GEMMA: &str = r#"{{ bos_token }}{% for turn in messages %}
{% if turn.role == 'system' %}{{ raise_exception('No system role here') }}{% endif %}
{% if (turn.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles take turns: user, model') }}{% endif %}
{% set speaker = 'model' if turn.role == 'assistant' else turn.role %}
{{ '<start_of_turn>' + speaker + '\n' + turn.content | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}"#;

/// Gemma 3: the system's text goes before the first of the user, and a slice leaves it out.
const GEMMA_3: &str = r#"{{ bos_token }}
{%- set opening, turns = "", messages -%}
{%- if messages[0]['role'] == 'system' -%}
    {%- set opening = messages[0]['content'] + '

' -%}
    {%- set turns = messages[1:] -%}
{%- endif -%}
{%- for turn in turns -%}
    {%- if (turn['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Roles take turns: user, model") }}
    {%- endif -%}
    {{ '<start_of_turn>' + ('model' if turn['role'] == 'assistant' else turn['role']) + '
' + (opening if loop.first else "") }}
    {%- if turn['content'] is string -%}
        {{ turn['content'] | trim }}
    {%- elif turn['content'] is iterable -%}
        {%- for part in turn['content'] -%}{{ part['text'] | trim }}{%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"#;

#[test]
fn gemma_2_and_3() {
    let expected = "<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nYes?<end_of_turn>\n\
                    <start_of_turn>user\nWhy<end_of_turn>\n<start_of_turn>model\n";
    assert_eq!(rendered(GEMMA, &TURNS).unwrap(), expected);
    assert_eq!(rendered(GEMMA_3, &TURNS).unwrap(), expected);
    let refusal = message(GEMMA, &SYSTEM);
    for part in ["the messages must be", "in line 2", "No system role here"] {
        assert!(refusal.contains(part), "{refusal}");
    }
    let expected = "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n";
    assert_eq!(rendered(GEMMA_3, &SYSTEM).unwrap(), expected);
    let refusal = message(GEMMA_3, &[("user", "a"), ("user", "b")]);
    assert!(refusal.contains("in line 11: Roles take turns"), "{refusal}");
    // A role that the template names reaches it.
    assert!(message(GEMMA, &[("model", "a")]).contains("Roles take turns"));
}

/// ChatML as SmolLM writes it: a usual system message before the first.
const CHATML: &str = r#"{% for turn in messages %}{% if loop.first and turn['role'] != 'system' %}{{ '<|im_start|>system
You are helpful<|im_end|>
' }}{% endif %}{{'<|im_start|>' + turn['role'] + '
' + turn['content'] + '<|im_end|>
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"#;

/// Qwen 3: a macro, tools, which are none, the last question by a namespace and a list from its end,
/// thoughts of earlier replies left out by methods of strings.
const QWEN_3: &str = r#"{%- macro turn(role, text) %}
    {{- '<|im_start|>' + role + '\n' + text + '<|im_end|>\n' }}
{%- endmacro %}
{%- if tools %}
    {%- for tool in tools %}
        {{- tool | tojson }}
    {%- endfor %}
{%- endif %}
{%- set last = namespace(found=false, question=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- if not last.found and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set last.found = true %}
        {%- set last.question = messages|length - loop.index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == "assistant" %}
        {%- set said, thought = message.content, '' %}
        {%- if message.reasoning_content is defined and message.reasoning_content is not none %}
            {%- set thought = message.reasoning_content %}
        {%- elif '</think>' in said %}
            {%- set thought = said.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set said = said.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > last.question %}
            {%- set said = '<think>\n' + thought.strip('\n') + '\n</think>\n\n' + said %}
        {%- endif %}
        {{- turn(message.role, said) }}
    {%- else %}
        {{- turn(message.role, message.content) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}"#;

#[test]
fn chatml_smollm_and_qwen() {
    let expected = "<|im_start|>system\nYou are helpful<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n\
                    <|im_start|>assistant\n";
    assert_eq!(rendered(CHATML, &ONE).unwrap(), expected);
    let expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n\
                    <|im_start|>assistant\n";
    assert_eq!(rendered(CHATML, &SYSTEM).unwrap(), expected);
    assert_eq!(rendered(QWEN_3, &SYSTEM).unwrap(), expected);
    let thought =
        [("user", "Hi"), ("assistant", "<think>\nHm.\n</think>\n\nYes?"), ("user", "Why")];
    let expected = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYes?<|im_end|>\n\
                    <|im_start|>user\nWhy<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(rendered(QWEN_3, &thought).unwrap(), expected);
    let last = template(QWEN_3).render(conversation(&thought[..2], false)).unwrap();
    let expected = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\nHm.\n</think>\n\n\
                    Yes?<|im_end|>\n";
    assert_eq!(last, expected);
}

/// Phi-3: blocks on lines of their own.
const PHI_3: &str = r#"{% for turn in messages %}
{% if turn['role'] in ['system', 'user', 'assistant'] and turn['content'] %}
{{'<|' + turn['role'] + '|>
' + turn['content'] + '<|end|>
'}}{% endif %}
{% endfor %}
{% if add_generation_prompt %}
{{ '<|assistant|>
' }}{% else %}
{{ eos_token }}{% endif %}"#;

/// Mistral: the system's text within the last question, which a filter finds.
const MISTRAL: &str = r#"{%- set turns = messages %}
{%- if messages[0]["role"] == "system" %}
    {%- set advice = messages[0]["content"] %}
    {%- set turns = messages[1:] %}
{%- endif %}
{%- set questions = turns | selectattr("role", "equalto", "user") | list %}
{{- bos_token }}
{%- for turn in turns %}
    {%- if turn["role"] not in ["user", "assistant"] %}
        {{- raise_exception("There are users and assistants, and no " + turn["role"]) }}
    {%- elif turn["role"] == "assistant" %}
        {{- " " + turn["content"]|trim + eos_token }}
    {%- elif turn == questions[-1] and advice is defined %}
        {{- "[INST] " + advice + "\n\n" + turn["content"] + "[/INST]" }}
    {%- else %}
        {{- "[INST] " ~ turn["content"] ~ "[/INST]" }}
    {%- endif %}
{%- endfor %}
"#;

/// OLMo 2: the last token between turns, written by one branch or the other.
const OLMO_2: &str = r#"{{ bos_token }}{% for turn in messages %}{{ '<|' + turn['role'] + '|>
' + turn['content'] }}{% if turn['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% if not (loop.last and turn['role'] == 'assistant') %}{{ '
' }}{% endif %}{% if loop.last and add_generation_prompt %}{{ '<|assistant|>
' }}{% endif %}{% endfor %}"#;

#[test]
fn phi_mistral_and_olmo() {
    let expected = "<|user|>\n Hi <|end|>\n<|assistant|>\nYes?<|end|>\n<|user|>\nWhy\n<|end|>\n\
                    <|assistant|>\n";
    assert_eq!(rendered(PHI_3, &TURNS).unwrap(), expected);
    let whole = template(PHI_3).render(conversation(&SYSTEM, false)).unwrap();
    assert_eq!(whole, "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n</s>");
    let expected = "<s>[INST]  Hi [/INST] Yes?</s>[INST] Why\n[/INST]";
    assert_eq!(rendered(MISTRAL, &TURNS).unwrap(), expected);
    assert_eq!(rendered(MISTRAL, &SYSTEM).unwrap(), "<s>[INST] Be brief.\n\nHi[/INST]");
    let refusal = message(MISTRAL, &[("user", "a"), ("tool", "b")]);
    assert!(refusal.contains("There are users and assistants, and no tool"), "{refusal}");
    let expected = "<s><|user|>\n Hi \n<|assistant|>\nYes?</s>\n<|user|>\nWhy\n\n<|assistant|>\n";
    assert_eq!(rendered(OLMO_2, &TURNS).unwrap(), expected);
    let whole = template(OLMO_2).render(conversation(&TURNS[..2], false)).unwrap();
    assert_eq!(whole, "<s><|user|>\n Hi \n<|assistant|>\nYes?</s>");
}

#[test]
fn what_published_templates_use_besides() {
    let cases = [
        // Tags by which transformers marks what a model says, with all ways to strip spaces.
        ("{% generation %}a{% endgeneration %}b", "ab"),
        ("x {%- generation -%} a {%- endgeneration -%} b", "xab"),
        ("{% generation %}\na\n{% endgeneration %}\nb", "a\nb"),
        ("{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "21"),
        ("{{ '{% generation' }}", "{% generation"),
        // Macros, namespaces, loops.
        (
            "{% macro f(x, y='!') %}{{ x }}{{ y }}{% endmacro %}{{ f('a') }}{{ f('b', y='?') }}",
            "a!b?",
        ),
        (
            "{% for x in 'a b'.split() %}{{ loop.index }}{{ x }}{{ '' if loop.last else ',' }}{% endfor %}",
            "1a,2b",
        ),
        (
            "{% for k, v in {'b': 1, 'a': 2}.items() %}{{ k }}{{ loop.last }}{% endfor %}",
            "bFalseaTrue",
        ),
        ("{% for k in {'b': 1, 'a': 2}.keys() %}{{ k }}{{ loop.last }}{% endfor %}", "bFalseaTrue"),
        ("{% for k in {'b': 1, 'a': 2} %}{{ k }}{{ loop.last }}{% endfor %}", "bFalseaTrue"),
        (
            "{% for x in [1, 2, 3] if x != 3 %}{{ x }}{{ loop.last }}{{ loop.length }}{% endfor %}",
            "1False22True2",
        ),
        ("{% for x in [1, 2, 3][::-1] %}{{ x }}{{ loop.last }}{% endfor %}", "3False2False1True"),
        (
            "{% for x in [1, 2, 3] | reverse %}{{ x }}{{ loop.last }}{% endfor %}",
            "3False2False1True",
        ),
        ("{% for x in [1, 2, 3] | reject('odd') %}{{ x }}{{ loop.last }}{% endfor %}", "2True"),
        (
            "{% for x in range(2) %}{{ x }}{{ loop.last }}{{ loop.revindex }}{% endfor %}",
            "0False21True1",
        ),
        (
            "{% for m in messages | selectattr('role', 'equalto', 'user') %}{{ loop.last }}{% endfor %}",
            "True",
        ),
        ("{{ {'b': 1, 'a': 2}.items() | length }}{{ {'b': 1}.values() | list }}", "2[1]"),
        (
            "{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
            "13",
        ),
        ("{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}", "1"),
        ("{% for x in [1, 2] %}{{ loop.previtem is defined }}{% endfor %}", "FalseTrue"),
        ("{% for k, v in {'b': 1, 'a': [2]}.items() %}{{ k }}={{ v }};{% endfor %}", "b=1;a=[2];"),
        // Python's words for values, and undefined ones.
        ("{{ none }} {{ true }} {{ [1.0, 'x'] }}{{ missing }}", "None True [1.0, 'x']"),
        ("{{ tools is none }}{{ documents is none }}{{ tool_choice is defined }}", "TrueTrueFalse"),
        ("{{ unk_token }}{{ pad_token }}{{ messages[0].get('name', '-') }}", "<unk>-"),
        (
            "{{ 'name' in messages[0] }}{{ messages[0] is mapping }}{{ messages[5] is defined }}",
            "FalseTrueFalse",
        ),
        ("{{ ' a b '.strip().split(' ') | join('+') }}{{ 'x'.upper() }}{{ 'Q'.lower() }}", "a+bXq"),
        (
            "{{ 'abc'[1:] }}{{ 'abc'[-1] }}{{ 'a-b'.replace('-', '') }}{{ 'ab cd'.title() }}",
            "bccabAb Cd",
        ),
        ("{{ messages | map(attribute='role') | list | length }}", "1"),
        ("{{ (messages | selectattr('role', 'equalto', 'user') | first).content }}", "Hi"),
        // JSON as Python writes it.
        ("{{ messages[0] | tojson }}", r#"{"role": "user", "content": "Hi"}"#),
        (
            "{{ {'b': [1, 2.5, none, true], 'a': 'ü<\"\n'} | tojson }}",
            r#"{"b": [1, 2.5, null, true], "a": "ü<\"\n"}"#,
        ),
        (
            "{{ {'a': [1], 'b': []} | tojson(indent=2) }}",
            "{\n  \"a\": [\n    1\n  ],\n  \"b\": []\n}",
        ),
        ("{{ 'é' | tojson(ensure_ascii=False) }}", "\"é\""),
        // Blocks take the spaces before them and the line feed behind them; one feed at the end goes.
        ("a\n  {% if true %}\nb\n  {% endif %}\nc\n", "a\nb\nc"),
        ("a\n  {%+ if true %}\nb{% endif +%}\nc", "a\n  b\nc"),
        ("{# a remark #}\na", "a"),
        // Line ends of other systems, in texts and in the template.
        (
            "{% for x in [1,2] %}\r\n{{ x }}\r\n{% endfor %}\r\nend {{ 'a\r\nb' }}\r\n",
            "1\n2\nend a\nb",
        ),
        ("a\rb\r", "a\nb"),
        // A sequence is what has a length and items.
        ("{{ 'ab' is sequence }}{{ {} is sequence }}{{ [1] is sequence }}", "TrueTrueTrue"),
        ("{{ [1, 2][1:] is sequence }}{{ [1, 2][::-1] is sequence }}", "TrueTrue"),
        ("{{ 1 is sequence }}{{ none is sequence }}{{ missing is sequence }}", "FalseFalseTrue"),
        // Arguments of `default` by their places and names.
        ("{{ none | default('a', boolean=false) }}", "None"),
        ("{{ '' | default(default_value='a', boolean=true) }}", "a"),
        ("{{ missing | d(default_value='a') }}{{ '' | d('b', true) }}{{ 0 | d('c') }}", "ab0"),
        ("{{ missing | default }}{{ missing | default(none) }}", "None"),
    ];
    for (source, expected) in cases {
        assert_eq!(rendered(source, &ONE).unwrap(), expected, "{source}");
    }
    let date = rendered("{{ strftime_now('%Y-%m-%d') }}", &ONE).unwrap();
    assert!(date.len() == 10 && date.starts_with("20"), "{date}");
}

#[test]
fn a_broken_template_is_named_with_its_line() {
    let cases = [
        ("a\n{% if x %}\nb", "line 3: syntax error: unexpected end of input"),
        ("a\n{{ 'b }}", "line 2: syntax error"),
        ("{% nonsense %}", "line 1: syntax error: unknown statement nonsense"),
        ("a\n\n{{ x | shout }}", "line 3: unknown filter"),
        ("\n{{ x.y.z }}", "line 2: undefined value"),
        ("{{ 'a'.bark() }}", "line 1: unknown method"),
        ("{{ 1 + 'a' }}", "line 1: invalid operation"),
        ("{{ f() }}", "line 1: unknown function"),
        ("{% include 'secret' %}", "line 1: syntax error"),
        ("{{ strftime_now('%Q') }}", "strftime_now does not know \"%Q\""),
        ("{{ 1 | tojson(sort_keys=true) }}", "tojson knows only sort_keys=false"),
        ("{{ 1 | tojson(separators=[',', ':']) }}", "`separators`"),
        ("{{ x | default('a', default_value='b') }}", "line 1: too many arguments"),
        ("{{ x | default('a', true, 1) }}", "line 1: too many arguments"),
        ("{{ x | default(value='a') }}", "line 1: too many arguments"),
    ];
    for (source, expected) in cases {
        let found = message(source, &ONE);
        assert!(found.contains(expected), "{found}");
        assert!(found.starts_with("the chat template must be"), "{found}");
    }
    assert!(template("{% if %}").check().is_err() && template("{{ x.y.z }}").check().is_ok());
    // In a file, the file is named, and a template of another name.
    let origin = TemplateOrigin::File("folder/tokenizer_config.json".into());
    let named = ChatTemplate { name: "rag".to_owned(), origin, ..template("{% if %}") };
    let found = named.render(conversation(&ONE, true)).unwrap_err().to_string();
    for part in ["folder/tokenizer_config.json", "`chat_template`", "`rag`", "line 1"] {
        assert!(found.contains(part), "{found}");
    }
}

#[test]
fn roles_and_conversations_that_make_no_sense_are_refused() {
    let found = message(CHATML, &[("user", "a"), ("usr", "b")]);
    for part in ["\"usr\"", "`assistant`", "that the chat template names"] {
        assert!(found.contains(part), "{found}");
    }
    assert!(message(CHATML, &[]).contains("the messages must be at least one"));
    for role in ROLES {
        rendered(CHATML, &[(role, "a")]).unwrap();
    }
}

#[test]
fn a_template_that_goes_on_is_ended() {
    let goes_on = [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ 'a' * 90000000 }}",
        "{% set n = namespace(x='aaaaaaaa') %}{% for i in range(99999) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "{% set n = namespace(x=['a']) %}{% for i in range(60) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x | tojson }}",
        "{% for i in range(99999) %}{{ messages | tojson }}{% endfor %}",
    ];
    for source in goes_on {
        let found = message(source, &ONE);
        assert!(found.contains("steps") && found.contains("goes on"), "{source}: {found}");
    }
    // Without an end otherwise: calls of itself, and values within values.
    let found = message("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", &ONE);
    assert!(found.contains("recursion limit"), "{found}");
    let deep =
        "{% set n = namespace(x=[]) %}{% for i in range(99999) %}{% set n.x = [n.x] %}{% endfor %}";
    assert!(message(deep, &ONE).contains("goes on"));
    for end in
        ["{{ n.x }}", "{{ n.x | tojson }}", "{{ n.x == n.x }}", "{{ n.x | string | length }}"]
    {
        let deep = format!("{}{end}", deep.replace("99999", "5000"));
        let _ = rendered(&deep, &ONE);
    }
    // As deep as the most steps allow, which a long conversation has.
    let deeper = "{% set n = namespace(x=[]) %}{% for i in range(9000) %}\
                  {% set n.x = [[[[[[[[n.x]]]]]]]] %}{% endfor %}";
    let many = vec![("user", "a"); 100];
    for end in ["", "{{ n.x }}", "{{ n.x | tojson }}", "{{ n.x == [n.x] }}"] {
        let _ = rendered(&format!("{deeper}{end}"), &many);
    }
    let found = message(&deeper.replace("9000", "99999"), &many);
    assert!(found.contains("ends within 262144 steps"), "{found}");
    let nested =
        format!("{}1{}", "{{ ".to_owned() + &"(".repeat(50_000), ")".repeat(50_000) + " }}");
    assert!(rendered(&nested, &ONE).is_err());
    // Long messages have steps for their texts.
    let long = "a b ".repeat(1 << 18);
    let text = rendered(QWEN_3, &[("user", &long)]).unwrap();
    assert!(text.len() > long.len());
    let many = vec![("user", "a"); 3_000];
    assert_eq!(rendered(CHATML, &many).unwrap().matches("<|im_end|>").count(), 3_001);
}
