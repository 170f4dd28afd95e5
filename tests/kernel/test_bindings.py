"""Variables, types and `impl` blocks over failed cells, Stop and `:dep`."""

import random
import re
import unittest

from harness import KernelTest

FAIL = "Err::<(), _>(\"no\")?;"


def told(reply):
    """The text of an error, without colours."""
    return re.sub("\x1b\\[[0-9;]*m", "", "\n".join(reply.content["traceback"]))


class BindingsTest(KernelTest):
    def value(self, code):
        return self.ok(code).results()[0]["text/plain"]

    def is_kept(self, setup, cell, ename, value, shown):
        """`cell` fails after `setup`, says that all is kept, and `value` still shows as `shown`."""
        self.ok(setup)
        reply = self.fails(cell, ename)
        self.assertIn("kept", told(reply), cell)
        self.assertNotIn("Lost", told(reply), cell)
        self.assertEqual(self.value(value), shown, cell)
        return reply


class FailedCells(BindingsTest):
    def test_a_failed_load_leaves_the_old_model(self):
        reply = self.is_kept(
            "let model = String::from(\"trained\");",
            "let model = std::fs::read_to_string(\"no such file\")?;",
            "Error",
            "model",
            "\"trained\"",
        )
        self.assertIn("model with its old value", told(reply))

    def test_a_panic_leaves_old_values(self):
        self.is_kept("let c = 41;", "let c = { let v = vec![1]; let i = v.len() + 2; v[i] };", "Panic", "c", "41")

    def test_a_new_type_that_never_came_leaves_the_old_one(self):
        self.is_kept("let x = 1u8;", "let x: String = std::fs::read_to_string(\"none\")?;", "Error", "x + 1", "2")

    def test_every_kind_of_pattern(self):
        self.ok("struct Pair { left: i32, right: (i32, i32) }")
        fail = "Err::<_, String>(\"no\".to_owned())"
        for pattern, kind in [
            ("(a, b)", "(i32, i32)"),
            ("(a, (mut b, _))", "(i32, (i32, i32))"),
            ("[a, b]", "[i32; 2]"),
            ("[a, .., b]", "[i32; 4]"),
            ("Pair { left: a, right: (b, _) }", "Pair"),
            ("a @ b", "i32"),
            ("&(a, b)", "&'static (i32, i32)"),
        ]:
            with self.subTest(pattern):
                self.is_kept("let a = \"old\"; let b = vec![7];", f"let {pattern}: {kind} = {fail}?;", "Error", "(a, &b)", "(\"old\", [7])")

    def test_patterns_define_their_variables(self):
        for pattern, value in [("[a, b]", "[1, 2]"), ("&(a, b)", "&(1, 2)"), ("((a), b)", "(1, 2)")]:
            with self.subTest(pattern):
                self.ok("let a = 10; let b = 20;")
                self.ok(f"let {pattern} = {value};")
                self.assertEqual(self.value("(a, b)"), "(1, 2)")

    def test_a_value_that_the_new_one_is_made_from(self):
        self.ok("fn sure(x: &[i32]) -> Result<Vec<i32>, String> { Err(format!(\"{} are too few\", x.len())) }")
        self.is_kept("let xs = vec![1, 2];", "let xs = sure(&xs)?;", "Error", "xs", "[1, 2]")
        self.is_kept("let xs = vec![1, 2];", f"println!(\"{{xs:?}}\"); let xs = 5; {FAIL}", "Error", "xs", "[1, 2]")

    def test_numbers_are_copied_not_moved(self):
        self.is_kept("let n = 4;", f"let n = n + 1; {FAIL}", "Error", "n", "4")

    def test_shadowing_twice_in_one_cell(self):
        self.is_kept("let t = vec![1];", f"let t = t.len(); let t = format!(\"{{t}}\"); {FAIL}", "Error", "t", "[1]")

    def test_a_new_value_that_is_moved_again(self):
        self.is_kept("let w = vec![3];", f"let w = vec![4]; drop(w); {FAIL}", "Error", "w", "[3]")

    def test_closures_and_functions(self):
        self.ok("fn twice(x: i32) -> i32 { 2 * x }")
        self.is_kept(
            "let f: Box<dyn Fn(i32) -> i32> = Box::new(twice);",
            f"let f: Box<dyn Fn(i32) -> i32> = Box::new(|x| x + 1); {FAIL}",
            "Error",
            "f(21)",
            "42",
        )

    def test_variables_stay_mutable_and_what_was_done_to_them_stays_done(self):
        self.is_kept("let mut v = vec![1];", f"v.push(2); let mut v: Vec<i32> = Vec::new(); v.push(9); {FAIL}", "Error", "v", "[1, 2]")
        self.ok("v.push(3);")
        self.assertEqual(self.value("v"), "[1, 2, 3]")

    def test_names_of_inner_scopes_are_not_definitions(self):
        self.is_kept(
            "let i = String::from(\"outer\"); let o = Some(3);",
            f"for i in 0..2 {{ println!(\"{{i}}\"); }} if let Some(o) = o {{ println!(\"{{o}}\"); }} {FAIL}",
            "Error",
            "(&i, o)",
            "(\"outer\", Some(3))",
        )

    def test_what_is_moved_is_named_and_nothing_else_is_lost(self):
        self.ok("let d = vec![1]; let e = vec![2]; let stays = 3; fn consume(_: Vec<i32>) {}")
        reply = self.fails(f"let d = d; {FAIL}", "Error")
        self.assertIn("Lost, because this cell moved it: d.", told(reply))
        reply = self.fails(f"consume(e); {FAIL}", "Error")
        self.assertIn("Lost, because this cell moved it: e.", told(reply))
        self.fails("d", "CompilationError")
        self.fails("e", "CompilationError")
        self.assertEqual(self.value("stays"), "3")

    def test_what_a_later_statement_would_have_moved_is_kept(self):
        self.is_kept("let m = vec![1];", f"{FAIL} drop(m);", "Error", "m", "[1]")
        self.is_kept("let m = vec![1];", f"{FAIL}\nlet m = Some(m);", "Error", "m", "[1]")

    def test_a_failed_operation_on_tensors_leaves_its_operands(self):
        self.is_kept(
            "let a = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?; let b = Tensor::zeros((4, 5), DType::F32, &Device::Cpu)?;",
            "let c = (a + b)?;",
            "Error",
            "(a.dims2()?, b.dims2()?)",
            "((2, 3), (4, 5))",
        )
        # A cell that comes to its end has moved them, as Rust does.
        self.ok("let moved = (a + 1.0)?;")
        self.fails("a", "CompilationError")
        self.assertEqual(self.value("moved.dims2()?"), "(2, 3)")

    def test_a_model_of_the_library(self):
        self.is_kept(
            "let model = ImageModel::new(ImageConfig::default(), 0, &Device::Cpu)?;",
            "let model = Decoder::from_pretrained(\"no/such/folder/at/all\", &Device::Cpu)?;",
            "Error",
            "model.accuracy(Mnist::load(&Device::Cpu)?.test())? < 0.5",
            "true",
        )

    def test_a_cell_that_returns_early_is_no_failure_and_loses_nothing(self):
        self.ok("let r = vec![5];")
        self.ok("let r = 1; let s = 2; if s == 2 { return Ok(()); } println!(\"{r}\");")
        self.assertEqual(self.value("r"), "[5]")
        self.fails("s", "CompilationError")

    def test_items_of_a_failed_cell_are_there(self):
        self.fails(f"fn seven() -> i32 {{ 7 }} use std::collections::BTreeSet; {FAIL}", "Error")
        self.assertEqual(self.value("(seven(), BTreeSet::<i32>::new().len())"), "(7, 0)")

    def test_compile_errors_change_nothing(self):
        self.ok("let y = vec![1];")
        self.fails("let y: i32 = \"text\"; drop(y);", "CompilationError")
        self.assertEqual(self.value("y"), "[1]")

    def test_failures_in_a_row_lose_nothing(self):
        failures_in_a_row(self, 40, seed=1)


def failures_in_a_row(test, count, seed):
    """Fails `count` cells, each in another way, between cells that change values."""
    rng = random.Random(seed)
    values = {name: f"\"{name}\"" for name in "abcdef"}
    test.ok("".join(f"let {name} = String::from({value});" for name, value in values.items()))
    test.ok("fn refuse<T>(x: T, what: &str) -> Result<T, String> { if what.len() > 99 { Ok(x) } else { Err(what.to_owned()) } }")
    kinds = [
        lambda x, y: f"let {x} = refuse(1, \"typo\")?;",
        lambda x, y: f"let {x} = refuse({x}.len(), \"same\")?;",
        lambda x, y: f"let {x} = format!(\"{{}}!\", {x}); let {y} = 5; refuse((), \"late\")?;",
        lambda x, y: f"let ({x}, {y}) = refuse((1, vec![2]), \"tuple\")?;",
        lambda x, y: f"let [{x}, mut {y}] = refuse([1, 2], \"slice\")?;",
        lambda x, y: f"let mut {x} = vec![1]; {x}.push(2); let {y} = {x}[{x}.len()];",
        lambda x, y: f"let {x} = {y}.parse::<i32>()?;",
        lambda x, y: f"refuse((), \"early\")?; let {x} = {y}; drop({x});",
        lambda x, y: f"let {x}: Option<u8> = None; {x}.unwrap();",
        lambda x, y: f"println!(\"{{{x}}} {{{y}}}\"); let {y} = 1; let {x} = {y} + 1; panic!(\"{{{x}}}\");",
        lambda x, y: f"if let Some({x}) = Some(1) {{ refuse({x}, \"inner\")?; }} drop({y});",
    ]
    for number in range(count):
        x, y = rng.sample(sorted(values), 2)
        cell = rng.choice(kinds)(x, y)
        reply = test.kernel.run(cell)
        test.assertEqual(reply.status, "error", cell)
        test.assertIn(reply.content["ename"], ("Error", "Panic"), (cell, reply.content))
        test.assertNotIn("Lost", told(reply), cell)
        if number % 4 == 3:
            # A new value, of another length, so that a stale one would show.
            values[x] = f"\"{x}{number}\""
            test.ok(f"let mut {x} = String::from({values[x]});")
        if number % 8 == 7:
            names = sorted(values)
            shown = test.ok(f"({', '.join('&' + name for name in names)})").results()[0]["text/plain"]
            test.assertEqual(shown, f"({', '.join(values[name] for name in names)})", cell)


class Types(BindingsTest):
    def test_a_dependency_leaves_variables_of_own_types(self):
        self.ok("#[derive(Debug)] struct Probe { at: usize } let probes = vec![Probe { at: 3 }];")
        reply = self.ok(":dep itoa = \"1\"")
        self.assertNotIn("lost", reply.text("stderr"))
        self.assertEqual(self.value("probes"), "[Probe { at: 3 }]")

    def test_a_type_defined_again_in_the_same_words_keeps_its_variables(self):
        cell = "#[derive(Clone)] struct Point { x: f32 }"
        self.ok(cell)
        self.ok("let point = Point { x: 1.5 };")
        self.ok(cell)
        self.ok("// With another derive.\n#[derive(Clone, Debug)] struct Point { x: f32 }")
        self.assertEqual(self.value("point"), "Point { x: 1.5 }")

    def test_a_changed_type_takes_its_variables_with_it_and_no_others(self):
        self.ok("struct Row { width: u8 } let row = Row { width: 1 }; let other = 2;")
        # The same names, so Rust alone would not notice.
        reply = self.ok("struct Row { width: String } other")
        self.assertIn("row", reply.text("stderr"))
        self.fails("row.width", "CompilationError")
        # A cell that defines both anew is fine.
        self.ok("struct Row { width: u8 } let row = Row { width: 7 };")
        reply = self.ok("struct Row { width: String } let row = Row { width: \"8\".to_owned() };")
        self.assertEqual(reply.text("stderr"), "")
        self.assertEqual(self.value("row.width"), "\"8\"")


class Impls(BindingsTest):
    def test_a_changed_impl_cell_takes_the_place_of_the_old_one(self):
        self.ok("struct Probe; trait Say { fn say(&self) -> i32; }")
        for answer in (1, 2):
            self.ok(f"impl Say for Probe {{ fn say(&self) -> i32 {{ {answer} }} }}")
            self.assertEqual(self.value("Probe.say()"), str(answer))

    def test_inherent_impls(self):
        self.ok("struct Own;")
        for answer in (1, 2):
            self.ok(f"impl Own {{ fn f(&self) -> i32 {{ {answer} }} }}")
        self.ok("impl Own { fn g(&self) -> i32 { 5 } }")
        self.assertEqual(self.value("(Own.f(), Own.g())"), "(2, 5)")

    def test_traits_of_the_standard_library_and_generics(self):
        self.ok("struct P3(f32); struct W<T>(T); trait Twice { fn twice(&self) -> String; }")
        for text in ("one", "two"):
            self.ok(f"impl std::fmt::Display for P3 {{ fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {{ write!(f, \"{text}\") }} }}")
            self.ok(f"// A comment.\nimpl<T: std::fmt::Debug> Twice for W<T> {{ fn twice(&self) -> String {{ format!(\"{text} {{:?}}\", self.0) }} }}")
        self.assertEqual(self.value("(P3(1.0).to_string(), W(3).twice())"), "(\"two\", \"two 3\")")

    def test_an_impl_may_move_to_another_cell(self):
        self.ok("struct Q; impl Q { fn f() -> i32 { 1 } }")
        self.ok("impl Q { fn f() -> i32 { 2 } }")
        self.assertEqual(self.value("Q::f()"), "2")
        self.ok("struct Q; impl Q { fn f() -> i32 { 3 } }")
        self.assertEqual(self.value("Q::f()"), "3")
        # And it goes with its type.
        self.ok("struct Q;\nfn after() {}")
        self.fails("Q::f()", "CompilationError")

    def test_a_compile_error_in_an_impl_changes_nothing_and_shows_the_users_line(self):
        self.ok("struct R;")
        self.ok("impl R { fn f() -> i32 { 1 } }")
        reply = self.fails("impl R { fn f() -> i32 { \"text\" } }", "CompilationError")
        self.assertIn("impl R { fn f()", told(reply))
        self.assertNotIn("EIGENLENS_IMPL", told(reply))
        self.assertEqual(self.value("R::f()"), "1")


class References(BindingsTest):
    def advice(self, cell, words):
        reply = self.kernel.run(cell)
        self.assertEqual(reply.status, "error", cell)
        self.assertIn(words, told(reply), cell)

    def test_the_way_to_keep_what_is_borrowed_is_told(self):
        self.ok("let text = String::from(\"abc\"); let v = vec![1, 2, 3]; let t = Some(Tensor::zeros(1, DType::F32, &Device::Cpu)?);")
        self.advice("let inner = t.as_ref().unwrap();", ".clone(): that is a handle")
        self.advice("let name = text.as_str();", ".to_owned()")
        self.advice("let part = &v[..2];", ".to_vec()")
        self.advice("let items = v.iter();", ".collect::<Vec<_>>()")
        self.ok("let inner = t.as_ref().unwrap().clone(); let name = text.as_str().to_owned(); let part = v[..2].to_vec();")
        self.assertEqual(self.value("(name, part)"), "(\"abc\", [1, 2])")

    def test_another_borrow_error_comes_first(self):
        self.ok("let mut list = vec![1];")
        reply = self.fails("let first = &list[0];\nlist.push(2);\nprintln!(\"{first}\");", "CompilationError")
        self.assertIn("E0502", reply.content["evalue"])


class Stops(BindingsTest):
    def started(self, request):
        while True:
            message = self.kernel.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") == request and message["msg_type"] == "stream":
                return

    def test_one_stop_waits_for_the_end_and_says_how_to_end_it(self):
        self.ok("let patient = 1;")
        request = self.kernel.send("println!(\"go\"); std::thread::sleep(std::time::Duration::from_secs(7)); let after = 2;")
        self.started(request)
        reply = self.kernel.interrupt_after(request, 0.1, pause=0)
        self.assertEqual((reply.status, reply.content["ename"]), ("error", "Interrupted"))
        self.assertIn("ran to its end", reply.content["evalue"])
        self.assertIn("All variables are kept", reply.content["evalue"])
        self.assertEqual(reply.text("stderr").count("Stop:"), 1)
        self.assertIn("press Stop again", reply.text("stderr"))
        self.assertEqual(self.value("(patient, after)"), "(1, 2)")

    def test_a_stop_that_is_seen_at_once_brings_no_note(self):
        request = self.kernel.send("println!(\"go\"); while !interrupted() { std::thread::sleep(std::time::Duration::from_millis(10)); }")
        self.started(request)
        reply = self.kernel.interrupt_after(request, 0.1, pause=0)
        self.assertEqual(reply.content["ename"], "Interrupted")
        self.assertEqual(reply.text("stderr"), "")

    def test_an_error_because_of_stop_is_a_stop_and_keeps_what_it_would_have_redefined(self):
        self.ok("let mut history = vec![0]; let best = 5;")
        request = self.kernel.send(
            "println!(\"go\");\n"
            "let best: i32 = loop { history.push(1); std::thread::sleep(std::time::Duration::from_millis(10));\n"
            "  if interrupted() { Err(\"stopped\")? } };\n"
            "println!(\"saved\");"
        )
        self.started(request)
        reply = self.kernel.interrupt_after(request, 0.2, pause=0)
        self.assertEqual(reply.content["ename"], "Interrupted")
        self.assertIn("kept", reply.content["evalue"])
        self.assertNotIn("saved", reply.text())
        self.assertEqual(self.value("(best, history.len() > 3)"), "(5, true)")

    def test_a_double_click_is_one_stop(self):
        self.ok("let survives = 1;")
        request = self.kernel.send("println!(\"go\"); std::thread::sleep(std::time::Duration::from_secs(2));")
        self.started(request)
        reply = self.kernel.interrupt_after(request, 0.1, stops=2, pause=0.05)
        self.assertIn("kept", reply.content["evalue"])
        self.assertEqual(self.value("survives"), "1")

    def test_skipped_cells_have_no_number(self):
        requests = [self.kernel.send(code) for code in (FAIL, "1")]
        replies = [self.kernel.collect(request) for request in requests]
        self.assertEqual(replies[1].status, "aborted")
        self.assertIsNone(replies[1].content.get("execution_count"))
        self.assertEqual(replies[1].outputs, [])


if __name__ == "__main__":
    unittest.main()
