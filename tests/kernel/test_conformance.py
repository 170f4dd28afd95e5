"""The protocol, as Jupyter's own test kit checks it."""

import unittest

import jupyter_kernel_test


class EigenlensKernel(jupyter_kernel_test.KernelTests):
    kernel_name = "eigenlens"
    language_name = "rust"
    file_extension = ".rs"
    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("oops");'
    completion_samples = [{"text": "Tensor::zer"}]
    complete_code_samples = ["1", "let x = 1;", "fn f() {}", '"a { b"']
    incomplete_code_samples = ["fn f() {", "vec![1,", '"open']
    invalid_code_samples = [")", "fn f(} {"]
    code_generate_error = 'Err::<(), _>("no")?;'
    code_execute_result = [{"code": "6 * 7", "result": "42"}, {"code": '"a".len()', "result": "1"}]
    code_display_data = [
        {"code": 'eigenlens::notebook::MimeBundle::text("t").html("<b>t</b>").show();', "mime": "text/html"}
    ]
    code_history_pattern = "6 *"
    supported_history_operations = ("tail", "range")
    code_inspect_sample = "Progress"
    code_clear_output = "eigenlens::notebook::clear_output(false);"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The kit allows a request 15 s; a kernel that has just started may still be preparing.
        cls.kc.execute_interactive("1", timeout=180, output_hook=lambda message: None)

    def test_history(self):
        self.execute_helper("6 * 7")
        super().test_history()


if __name__ == "__main__":
    unittest.main()
