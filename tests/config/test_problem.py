from pomelo_lab.config.problem import Problem, lacks


def test_a_problem_is_its_text():
    problem = Problem("sampler.dataset needs a Portraits", "sampler", "needs Portraits, not Digits")
    assert problem == "sampler.dataset needs a Portraits" and f"{problem}" == str(problem)
    assert (problem.owner, lacks(problem)) == ("sampler", "needs Portraits, not Digits")
    assert lacks("seed must be >= 0") == "" == lacks(Problem("seed must be >= 0"))
